"""The vectors of each image's windows, computed by one of the processes of a run and read by all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spp_det.files import read_arrays, write_arrays
from spp_det.processes import Processes
from spp_det.training.source import Vectors

Arrays = dict[str, np.ndarray]
AHEAD = 2  # steps for each process that are computed before they are asked for
BEHIND = 4  # steps for each process that the slowest may lie back; both bound what lies in the folder
LOOK_EVERY = 0.002  # s


def hand_round(arrays: Arrays, folder: Path, here: Processes) -> list[Arrays]:
    """The arrays of all processes, by rank, in each of them; `folder`, one that they share, holds them meanwhile."""
    if here.store is None:
        return [arrays]
    name = here.new_key()
    files = [folder / f"{name}.{rank}.safetensors" for rank in range(here.world)]
    write_arrays(files[here.rank], arrays)
    here.wait()
    found = [read_arrays(file) for file in files]
    here.wait()
    files[here.rank].unlink()
    return found


class Exchange:
    """A walk of steps 0, 1, 2, ... that all processes take, each at its own pace, sharing the vectors of each step.

    compute: the vectors of a step, float32 [N, D], the same whichever process computes them. walk: the steps that this
    process takes, each maybe from another on, and all to the same end. folder: one that all processes share, for
    files that are passed on; the last who reads one removes it.
    """

    def __init__(self, compute: Callable[[int], Vectors], walk: range, folder: Path, here: Processes) -> None:
        assert here.store is not None
        self.compute = compute
        self.steps = walk.stop
        self.folder = folder
        self.store, self.key, self.world = here.store, here.new_key(), here.world
        self.begins = here.gather(walk.start)
        self.taken = here.counter(min(self.begins))  # steps that somebody computes, or has computed
        self._made: dict[int, Vectors] = {}  # by this process; the others read its files

    def take(self, step: int) -> Vectors:
        """The vectors of a step, as soon as they are there. To be called for every step of the walk, in order."""
        while not self._passed(step - BEHIND * self.world):
            self._help(step)
        file = self._file(step)
        while step not in self._made and not file.exists():
            self._help(step)
        vectors = self._made.pop(step) if step in self._made else read_arrays(file)["vectors"]
        if self.store.add(f"{self.key}/{step}", 1) == self._readers(step):
            file.unlink()
        return vectors

    def _help(self, step: int) -> None:
        """Compute a step that nobody has taken yet, unless it lies too far ahead."""
        if self.taken(0) >= min(self.steps, step + AHEAD * self.world):
            time.sleep(LOOK_EVERY)
            return
        number = self.taken(1) - 1
        if number < self.steps:
            vectors = self.compute(number)
            write_arrays(self._file(number), {"vectors": vectors})
            if number >= step:
                self._made[number] = vectors

    def _passed(self, step: int) -> bool:
        """Whether all processes are beyond a step."""
        return step < min(self.begins) or self.store.add(f"{self.key}/{step}", 0) >= self._readers(step)

    def _readers(self, step: int) -> int:
        return sum(begin <= step for begin in self.begins)

    def _file(self, step: int) -> Path:
        return self.folder / f"step{step}.safetensors"
