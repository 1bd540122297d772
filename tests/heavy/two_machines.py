"""Two machines in network namespaces of their own, one of which is cut off. For root on Linux: `make two-machines`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_torchrun import PAIR, assert_pair, switch_off, torchrun, train_alone, training, wait_for

SPACES = ("spp-det-a", "spp-det-b")
HOST = SPACES[0]  # of the meeting point, which a machine's name does not tell here
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def cable() -> Iterator[None]:
    """Two network namespaces and a cable between them."""
    links = ("spp-det-va", "spp-det-vb")
    for space in SPACES:
        ip("netns", "add", space)
    try:
        ip("link", "add", links[0], "type", "veth", "peer", "name", links[1])
        for space, link, address in zip(SPACES, links, ADDRESSES, strict=True):
            ip("link", "set", link, "netns", space)
            ip("-n", space, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", space, "link", "set", link, "up")
            ip("-n", space, "link", "set", "lo", "up")
        yield
    finally:
        for space in SPACES:
            ip("netns", "del", space)


def test_two_machines_one_of_which_is_cut_off(tmp_path: Path, cable: None) -> None:
    train_alone(tmp_path, "single", *PAIR)
    agents = []
    for space, address in zip(SPACES, ADDRESSES, strict=True):
        launch = [
            *("--nnodes=1:2", "--nproc-per-node=2", "--max-restarts=5", "--rdzv-id=pair", "--rdzv-backend=c10d"),
            f"--rdzv-endpoint={ADDRESSES[0]}:29400",
            f"--local-addr={address}",
            f"--rdzv-conf=last_call_timeout=15,keep_alive_interval=1,keep_alive_max_attempt=3,is_host={space == HOST}",
        ]
        inside = ("ip", "netns", "exec", space)
        arguments = training(tmp_path, "pair", *PAIR)
        agents.append(torchrun(tmp_path / "pair" / space, launch, *arguments, inside=inside))
    wait_for(agents[1], tmp_path / "pair" / "store", "svm/*/stage.lock")
    ip("-n", SPACES[1], "link", "set", "spp-det-vb", "down")  # nothing says good-bye, not even the kernel
    switch_off(agents[1])
    assert_pair(tmp_path, agents[0], tmp_path / "pair" / SPACES[0])
