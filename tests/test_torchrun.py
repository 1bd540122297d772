"""Training and testing under torchrun: several processes, a killed one, two machines of which one leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from reference.artefacts import artefacts, assert_same

from spp_det.config import load_config
from spp_det.files import read_arrays
from spp_det.pipeline import evaluate_run, train

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "shapes.toml"
SETTINGS = [
    "precision=float32",
    "data.options={train=12, test=6}",
    "trunk.name=reference.tiny_trunk:tiny_trunk",
    "trunk.weights=random",
    "proposals.max_windows=80",
    "maps.levels=[1, 3]",
    "maps.scales=[160]",
    "finetune.iterations=30",
    "finetune.chunk=5",
    "finetune.batch_size=16",
    "finetune.windows_per_image=8",
    "finetune.hidden=[24, 16]",
    "svm.retrain_after=60",
]
TWO = ["--standalone", "--nproc-per-node=2"]
PAIR = ["svm.layer=pool5", "svm.passes=40"]  # nothing but the head depends on fine-tuning


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with the data and, in `alone/`, what one process makes of it."""
    folder = tmp_path_factory.mktemp("torchrun")
    train_alone(folder, "alone")
    evaluate_run(folder / "alone" / "run")
    return folder


def train_alone(folder: Path, name: str, *settings: str) -> None:
    """What one process makes of it."""
    config = load_config(CONFIG, [*SETTINGS, *settings], data__root=str(folder / "shapes"))
    train(config, folder / name / "run")


def torchrun(out: Path, launch: list[str], *arguments: str | Path, inside: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start torchrun in a session of its own, `inside` something; what it prints goes to two files beside `out`."""
    line = [*inside, sys.executable, "-m", "torch.distributed.run", *launch, *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_suffix(".out").open("w") as words, out.with_suffix(".err").open("w") as errors:
        environment = {**os.environ, "PYTHONPATH": path, "SPP_DET_SILENCE": "20"}
        return subprocess.Popen(line, stdout=words, stderr=errors, env=environment, text=True, start_new_session=True)


def training(folder: Path, name: str, *settings: str) -> list[str | Path]:
    places = ["--data", folder / "shapes", "--out", folder / name / "run"]
    return [ROOT / "tools" / "train_net.py", "--config", CONFIG, *places, "--set", *SETTINGS, *settings]


def workers(agent: subprocess.Popen[str]) -> list[int]:
    """The processes that a torchrun has started, by rank."""
    return [int(pid) for pid in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()]


def wait_for(agent: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    """Until a file is there."""
    end = time.monotonic() + 600
    while not any(folder.glob(pattern)):
        assert agent.poll() is None, "torchrun ended before"
        assert time.monotonic() < end
        time.sleep(0.005)


def ended(agent: subprocess.Popen[str], out: Path) -> str:
    """What a torchrun that ends well has said."""
    code = agent.wait(900)
    assert code == 0, out.with_suffix(".err").read_text()
    return out.with_suffix(".out").read_text()


def test_two_processes_leave_the_bytes_of_one_though_they_are_killed(folder: Path) -> None:
    out = folder / "killed" / "train"
    agent = torchrun(out, [*TWO, "--max-restarts=3"], *training(folder, "killed"))
    for number, moment in enumerate(("maps/*/*.index", "svm/*")):
        wait_for(agent, folder / "killed" / "store", moment)
        os.kill(workers(agent)[number], signal.SIGKILL)
    words = ended(agent, out)
    assert words.count("trained: ") == 1
    assert "12 images, 7 classes, trunk reference.tiny_trunk:tiny_trunk, 2 processes" in words
    assert "Traceback" not in out.with_suffix(".err").read_text()

    test = folder / "killed" / "test"
    words = ended(torchrun(test, [*TWO, "-m"], "spp_det.cli", "test", folder / "killed" / "run"), test)
    assert words.count("average precision, test, 6 images") == 1
    assert_same(artefacts(folder / "killed"), artefacts(folder / "alone"))
    metrics = [json.loads((folder / name / "run" / "metrics.json").read_text()) for name in ("alone", "killed")]
    assert metrics[0] == metrics[1]


def test_a_fault_of_one_process_is_one_line(folder: Path) -> None:
    """A broken image, which one process finds; the others say nothing of it."""
    broken = Path(shutil.copytree(folder / "shapes", folder / "broken"))
    image = min(broken.rglob("JPEGImages/train_*.jpg"))
    image.write_bytes(image.read_bytes()[:-2000])
    out = folder / "faulty" / "train"
    arguments = [broken if word == folder / "shapes" else word for word in training(folder, "faulty")]
    agent = torchrun(out, TWO, *arguments)
    assert agent.wait(600) == 1
    ours = [line for line in out.with_suffix(".err").read_text().splitlines() if line.startswith("error: ")]
    assert len(ours) == 1, ours
    assert str(image) in ours[0]
    assert "broken image" in ours[0]


@pytest.fixture
def pair(folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two machines' torchruns, which find each other; the second may leave, since the first holds the meeting point."""
    port = free_port()
    launch = [
        "--nnodes=1:2",
        "--nproc-per-node=1",
        "--max-restarts=5",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{port}",
        "--rdzv-id=pair",
        "--rdzv-conf=last_call_timeout=15,keep_alive_interval=1,keep_alive_max_attempt=3",
    ]
    arguments = training(folder, "pair", *PAIR)
    agents = [torchrun(folder / "pair" / "first", launch, *arguments)]
    wait_until_served(agents[0], port)  # else either of them may come to hold it
    agents.append(torchrun(folder / "pair" / "second", launch, *arguments))
    yield agents
    for agent in agents:
        if agent.poll() is None:
            switch_off(agent)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def wait_until_served(agent: subprocess.Popen[str], port: int) -> None:
    """Until a process listens at a port of this machine; nobody is called there, which torch would report."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    end = time.monotonic() + 300
    while True:
        rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
        if any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows):  # 0A: LISTEN
            return
        assert agent.poll() is None, "torchrun ended before"
        assert time.monotonic() < end
        time.sleep(0.05)


def switch_off(agent: subprocess.Popen[str]) -> None:
    """What happens to a machine that loses its power: nobody there says good-bye."""
    those = workers(agent)
    os.kill(agent.pid, signal.SIGKILL)
    for pid in those:
        os.kill(pid, signal.SIGKILL)
    agent.wait()


def test_two_machines_one_of_which_leaves(folder: Path, pair: list[subprocess.Popen[str]]) -> None:
    """Fine-tuning by both is within rounding of one's; what does not depend on it is the same to the bit."""
    train_alone(folder, "single", *PAIR)
    first, second = pair
    wait_for(second, folder / "pair" / "store", "svm/*/stage.lock")
    switch_off(second)
    assert_pair(folder, first, folder / "pair" / "first")


def assert_pair(folder: Path, left: subprocess.Popen[str], out: Path) -> None:
    """The run ends on the machine that is left, with what one process makes but for rounding in the head."""
    words = ended(left, out)
    assert " processes" in words
    found, expected = artefacts(folder / "pair"), artefacts(folder / "single")
    tuned = {name for name in expected if name.startswith("store/finetune/") or name == "run/head.safetensors"}
    assert_same(*({name: content for name, content in each.items() if name not in tuned} for each in (found, expected)))
    for name in tuned:
        if name.endswith("head.safetensors"):
            ours, theirs = (read_arrays(folder / side / name) for side in ("pair", "single"))
            for layer, values in theirs.items():
                np.testing.assert_allclose(ours[layer], values, rtol=1e-3, atol=1e-6)
        elif name.endswith("log.json"):
            for ours, theirs in zip(*(json.loads(each[name]) for each in (found, expected)), strict=True):
                assert ours == pytest.approx(theirs, rel=1e-5)
