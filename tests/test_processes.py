from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from reference.crowd import crowd

from spp_det import processes as module
from spp_det import torchrun
from spp_det.errors import ConfigError
from spp_det.parallel import available_cores, machine_cores
from spp_det.processes import ALONE, Processes
from spp_det.team import Team, join_team
from spp_det.torchrun import processes


def test_every_item_goes_to_one_process_and_the_free_ones_take_more() -> None:
    def work(here: Processes) -> list[int]:
        taken = []
        for item in here.deal(range(100)):
            taken.append(item)
            time.sleep(0.02 if here.first else 0.001)
        return taken

    slow, *others = crowd(3, work)
    assert sorted(slow + others[0] + others[1]) == list(range(100))
    assert 0 < len(slow) < min(map(len, others))
    assert list(ALONE.deal(range(3))) == [0, 1, 2]


def test_results_come_in_order_whoever_computes_them() -> None:
    found = crowd(3, lambda here: here.share(lambda item: [item, item / 3], list(range(20))))
    assert found == [[[item, item / 3] for item in range(20)]] * 3
    assert ALONE.share(lambda item: item + 1, [1, 2]) == [2, 3]


def test_the_first_decides_and_all_know_what_each_has() -> None:
    def work(here: Processes) -> list[Any]:
        here.wait()
        return [here.agree(lambda: f"of {here.rank}"), here.gather(here.rank), here.agree(lambda: here.rank)]

    assert crowd(3, work) == [["of 0", [0, 1, 2], 0]] * 3
    assert [ALONE.agree(lambda: 1), ALONE.gather(2)] == [1, [2]]


def test_what_is_told_may_be_longer_than_the_store_takes_at_once() -> None:
    """200,000 names of images, 12 MB: torchrun's store refuses a value of more than 8."""

    def work(here: Processes) -> list[Any]:
        names = here.agree(lambda: [f"a name of an image that is long, the {n:020d}" for n in range(200_000)])
        return [len(names), names[-1], [len(each) for each in here.gather("x" * 9_000_000)]]

    assert (
        crowd(2, work) == [[200_000, "a name of an image that is long, the " + f"{199_999:020d}", [9_000_000] * 2]] * 2
    )


def test_the_first_goes_ahead(tmp_path: Path) -> None:
    def work(here: Processes) -> bool:
        with here.first_ahead():
            there = (tmp_path / "made").exists()
            if here.first:
                time.sleep(0.2)
                (tmp_path / "made").touch()
        return there

    assert crowd(3, work) == [False, True, True]


def test_progress_counts_the_steps_of_all_and_ends_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(here: Processes) -> list[Any]:
        shown: list[tuple[int, int | None]] = []
        monkeypatch.setattr(module, "progress", lambda *_: _recorder(shown))
        begin = time.monotonic()
        with here.progress("steps", 7, done=1) as step:
            for _ in range(0 if here.first else 6):
                time.sleep(0.05)
                step()
        return [shown[-1], time.monotonic() - begin]

    (last, waited), (_, worked) = crowd(2, work)
    assert last[1] == 7
    assert waited > 0.25
    assert worked > 0.25


class _recorder:  # noqa: N801 - stands for a function
    def __init__(self, shown: list[tuple[int, int | None]]) -> None:
        self.shown = shown

    def __enter__(self) -> Any:
        return lambda count, total: self.shown.append((count, total))

    def __exit__(self, *_: object) -> None:
        pass


def test_a_restart_believes_nothing_that_the_dead_have_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(here: Processes) -> list[int]:
        """Three attempts, one after the other, on one store that outlives them, as torchrun's does."""
        monkeypatch.setattr(dist, "rendezvous", lambda *_, **__: iter([(here.store,)]))
        totals = []
        for _ in range(3):
            here.wait()
            attempt = Processes(here.rank, here.world, here.rank, store=torchrun._meet(here.rank, here.world))
            count = attempt.counter()
            count(1)
            attempt.wait()
            totals.append(count(0))
        return totals

    assert crowd(3, work) == [[3, 3, 3]] * 3


def test_who_computes_gradients_together() -> None:
    def work(here: Processes) -> list[Any]:
        machine = Processes(
            here.rank, here.world, here.rank % 2, store=here.store
        )  # two machines with two processes each
        with join_team(machine) as team:
            leaders = None if team is None else [team.rank, team.world]
        with join_team(machine, everyone=True) as team:
            assert team is not None
            return [leaders, [team.rank, team.world]]

    assert crowd(4, work) == [[[0, 2], [0, 4]], [None, [1, 4]], [[1, 2], [2, 4]], [None, [3, 4]]]
    with join_team(ALONE) as team:
        assert team == Team()


def test_others_are_not_told_to_call_the_loopback() -> None:
    lines = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    to_the_world = [name for name, destination, *_ in lines if destination == "00000000"]
    expected = to_the_world[0] if to_the_world else None
    for host in ("localhost", "127.0.1.1", "there.is.no.such.host.invalid"):
        assert torchrun.interface(host) == expected


def test_rows_of_a_batch() -> None:
    parts = [Team(rank, 3).rows(10) for rank in range(3)]
    assert [index for part in parts for index in range(10)[part]] == list(range(10))
    assert {part.stop - part.start for part in parts} == {3, 4}
    with pytest.raises(ConfigError, match="a batch of 2 windows is too small for 3 processes"):
        Team(0, 3).rows(2)


def test_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_cores() == machine_cores()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for others, share in [("2", 4), ("3", 2), ("16", 1)]:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", others)
        assert available_cores() == share
        assert machine_cores() == 8


def test_alone_without_torchrun() -> None:
    with processes() as here:
        assert here is ALONE
        assert here.first
