"""What an earlier start saw of a split's images and annotations, so that 100,000 of them are not read at each start.

A file counts as unchanged while its inode, length and times of writing and of change (mtime and ctime, in ns) are the
same. The ctime is the system's own, no program sets it back; and a file that changed within two seconds of being looked
at is read again at the next start, since a second change might bear the same time. A clock that was set back therefore
costs reading, and lets no change pass unseen.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spp_det.errors import DataError
from spp_det.files import read_arrays, write_arrays
from spp_det.structures import Target

FRESH = 2_000_000_000  # ns
_UNKNOWN = (0, 0, 0, 0)


def file_states(paths: Iterable[str | os.PathLike[str] | None]) -> npt.NDArray[np.int64]:
    """Inode, bytes, mtime and ctime of each file, in ns: int64 [N, 4].

    Zeros, which equal no other state, for no file and one that has just changed.
    """
    states = np.array([_state(path) for path in paths], np.int64).reshape(-1, 4)
    states[abs(time.time_ns() - states[:, 3]) < FRESH] = 0
    return states


def _state(path: Any) -> tuple[int, int, int, int]:
    if path is None:
        return _UNKNOWN
    try:
        if hasattr(path, "fs"):  # an address: what its storage says of it, such as its ETag
            return _remote_state(path)
        facts = os.stat(path)  # noqa: PTH116 - a third of the time that Path.stat takes
    except OSError:
        return _UNKNOWN
    return facts.st_ino & (2**63 - 1), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _remote_state(path: Any) -> tuple[int, int, int, int]:
    key = path.fs.ukey(path.path)
    numbers = np.frombuffer(hashlib.sha256(key.encode()).digest(), np.int64)
    return int(numbers[0]), int(numbers[1]), int(numbers[2]), int(numbers[3])


def unchanged(now: npt.NDArray[np.int64], before: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of the files, states int64 [N, 4], are known to be as they were: bool [N]."""
    return (now == before).all(axis=1) & now.any(axis=1)


@dataclass
class _Rows:
    """Arrays of one row an image, kept in a file."""

    @classmethod
    def read(cls, path: Path, count: int) -> Self | None:
        """Those in a file; None where there is none for so many images. A broken one is as good as none."""
        try:
            arrays = read_arrays(path)
            found = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (DataError, KeyError):
            return None
        return found if len(arrays["states"]) == count else None

    def write(self, path: Path) -> None:
        """Keep them in a file, whole or not at all."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})


@dataclass
class SeenImages(_Rows):
    """states: int64 [N, 4], of the files; digests: uint8 [N, 32], SHA-256; sizes: int32 [N, 2], height and width.

    An image that could not be read has the size 0 x 0.
    """

    states: npt.NDArray[np.int64]
    digests: npt.NDArray[np.uint8]
    sizes: npt.NDArray[np.int32]

    @classmethod
    def none(cls, count: int) -> SeenImages:
        """Nothing seen of so many images."""
        return cls(np.zeros((count, 4), np.int64), np.zeros((count, 32), np.uint8), np.zeros((count, 2), np.int32))


@dataclass
class SeenTargets(_Rows):
    """The objects of N images, one behind the other.

    states: int64 [N, 8], of the image's file and of the annotation's; counts: int64 [N], objects of each image;
    boxes: float32 [M, 4]; labels: int64 [M]; difficult: bool [M].
    """

    states: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]

    @classmethod
    def none(cls, count: int) -> SeenTargets:
        """Nothing seen of so many images."""
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        return cls(np.zeros((count, 8), np.int64), np.zeros(count, np.int64), *empty)

    def replaced(self, states: npt.NDArray[np.int64], new: Mapping[int, Target]) -> SeenTargets:
        """The same under other states, with new targets in some rows."""
        counts, columns = self.counts.copy(), []
        counts[list(new)] = [len(target) for target in new.values()]
        ends = np.cumsum(self.counts)
        for name in ("boxes", "labels", "difficult"):
            old = getattr(self, name)
            parts = [
                getattr(new[row], name) if row in new else old[end - count : end]
                for row, (end, count) in enumerate(zip(ends.tolist(), self.counts.tolist(), strict=True))
            ]
            columns.append(np.concatenate([old[:0], *parts]))
        return SeenTargets(states, counts, *columns)

    def chosen(self, rows: npt.NDArray[np.bool_]) -> SeenTargets:
        """Those of some rows, bool [N]."""
        objects = np.repeat(rows, self.counts)
        columns = (getattr(self, name)[objects] for name in ("boxes", "labels", "difficult"))
        return SeenTargets(self.states[rows], self.counts[rows], *columns)

    def digest(self) -> str:
        """A hash of all objects."""
        parts = (self.counts, self.boxes, self.labels, self.difficult)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


class TargetTable(Mapping[str, Target]):
    """A target for each name, made as it is asked for: so 100,000 take no more memory than their numbers do.

    names: of the rows of `seen`, in their order.
    """

    def __init__(self, names: Iterable[str], seen: SeenTargets) -> None:
        self._rows = {name: row for row, name in enumerate(names)}
        self._ends = np.cumsum(seen.counts)
        self._seen = seen

    def __getitem__(self, name: str) -> Target:
        row = self._rows[name]
        end = int(self._ends[row])
        own = slice(end - int(self._seen.counts[row]), end)
        return Target(self._seen.boxes[own], self._seen.labels[own], self._seen.difficult[own])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
