"""The cache of hard negatives: one copy of each window's features, and for every class the list of those it uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from spp_det.training.source import Vectors

Rows = npt.NDArray[np.int64]

_BLOCK = 4096  # rows; whole blocks are added, so that growing copies nothing


class NegativeCache:
    """Features of negatives, shared by the classes.

    dim: length of a feature. num_classes: K. A window is named by (image, window), its row is where its features
    lie; a row that no class uses any more is given to the next window.
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        self.dim = dim
        self.rows_of: list[Rows] = [np.zeros(0, np.int64) for _ in range(num_classes)]
        self.keys = np.zeros((0, 2), np.int64)  # (image, window) of each row
        self._blocks: list[Vectors] = []
        self._uses = np.zeros(0, np.int64)  # how many classes use each row

    def add(self, image: int, features: Vectors, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Give each class the windows of an image that it chose; returns how many each class got, int64 [K].

        features: float32 [N, D] of all its windows; chosen: bool [N, K]. A window that a class has already is not
        given to it again.
        """
        chosen = chosen & ~self.holds(image, len(features))
        row_of_window = self._rows_of_image(image, len(features))
        new = np.flatnonzero(chosen.any(axis=1) & (row_of_window < 0))
        row_of_window[new] = self._reserve(len(new))
        self.keys[row_of_window[new]] = np.stack([np.full(len(new), image), new], axis=1)
        self._store(row_of_window[new], features[new])
        for label, rows in enumerate(self.rows_of):
            added = row_of_window[chosen[:, label]]
            self._uses[added] += 1
            self.rows_of[label] = np.concatenate([rows, added])
        return chosen.sum(axis=0)

    def holds(self, image: int, num_windows: int) -> npt.NDArray[np.bool_]:
        """Which windows of an image are in which class's list: bool [N, K]."""
        held = np.zeros((num_windows, len(self.rows_of)), bool)
        for label, rows in enumerate(self.rows_of):
            keys = self.keys[rows]
            held[keys[keys[:, 0] == image, 1], label] = True
        return held

    def features(self, label: int) -> Vectors:
        """The features of a class's negatives, in the order they came: float32 [n, D]."""
        rows = self.rows_of[label]
        out = np.empty((len(rows), self.dim), np.float32)
        for number, block in enumerate(self._blocks):
            here = rows // _BLOCK == number
            out[here] = block[rows[here] % _BLOCK]
        return out

    def keep(self, label: int, kept: npt.NDArray[np.bool_]) -> None:
        """Drop all of a class's negatives but those kept, bool [n]."""
        rows = self.rows_of[label]
        self._uses[rows[~kept]] -= 1
        self.rows_of[label] = rows[kept]

    def state(self) -> dict[str, np.ndarray]:
        """The cache as arrays, the features of each window once, in the order of the keys."""
        used = np.flatnonzero(self._uses)
        used = used[np.lexsort((self.keys[used, 1], self.keys[used, 0]))]
        rank = np.zeros(len(self.keys), np.int64)
        rank[used] = np.arange(len(used))
        features = np.empty((len(used), self.dim), np.float32)
        for number, block in enumerate(self._blocks):
            here = used // _BLOCK == number
            features[here] = block[used[here] % _BLOCK]
        return {
            "keys": self.keys[used],
            "features": features,
            "lengths": np.array([len(rows) for rows in self.rows_of]),
            "rows": rank[np.concatenate(self.rows_of)],
        }

    def take_over(self, state: Mapping[str, np.ndarray], labels: Sequence[int]) -> None:
        """Give classes the negatives that they have in a `state`, in place of those that they have here."""
        rows_of = np.split(state["rows"], np.cumsum(state["lengths"])[:-1])
        for label in labels:
            self.keep(label, np.zeros(len(self.rows_of[label]), bool))
        used = np.unique(np.concatenate([np.zeros(0, np.int64), *(rows_of[label] for label in labels)]))
        row_of = {tuple(self.keys[row]): row for row in np.flatnonzero(self._uses).tolist()}
        place = np.full(len(state["keys"]), -1)
        place[used] = [row_of.get(tuple(key), -1) for key in state["keys"][used].tolist()]
        new = used[place[used] < 0]
        place[new] = self._reserve(len(new))
        self.keys[place[new]] = state["keys"][new]
        self._store(place[new], state["features"][new])
        for label in labels:
            self.rows_of[label] = place[rows_of[label]]
            self._uses += np.bincount(self.rows_of[label], minlength=len(self._uses))

    def _rows_of_image(self, image: int, num_windows: int) -> Rows:
        """The row of each window of an image, -1 where it has none."""
        rows = np.full(num_windows, -1)
        here = np.flatnonzero((self.keys[:, 0] == image) & (self._uses > 0))
        rows[self.keys[here, 1]] = here
        return rows

    def _reserve(self, count: int) -> Rows:
        """Rows that nobody uses, the lowest first, in new blocks where there are too few."""
        missing = count - int((self._uses == 0).sum())
        blocks = max(0, -(-missing // _BLOCK))
        self._blocks += [np.empty((_BLOCK, self.dim), np.float32) for _ in range(blocks)]
        self._uses = np.concatenate([self._uses, np.zeros(blocks * _BLOCK, np.int64)])
        self.keys = np.concatenate([self.keys, np.full((blocks * _BLOCK, 2), -1)])
        return np.flatnonzero(self._uses == 0)[:count]

    def _store(self, rows: Rows, features: Vectors) -> None:
        for number, block in enumerate(self._blocks):
            here = rows // _BLOCK == number
            block[rows[here] % _BLOCK] = features[here]
