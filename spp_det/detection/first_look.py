"""A first look at every window, by a few of its bins, that drops the hopeless ones before they cost more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spp_det.errors import ConfigError
from spp_det.threads import multiply

Vectors = npt.NDArray[np.float32]  # [N, D]


class FirstLook:
    """Scores of windows by a coarse pyramid and one linear layer; only the best windows of an image go on.

    A window's first score is its best over the classes. A share of the windows goes on rather than all above a score,
    so that the time of an image is known beforehand and an image of weak objects keeps its best ones too.

    Parameters
    ----------
    levels: n of each n x n level that it looks at. keep: the share of an image's distinct windows that goes on, in
    (0, 1], but never fewer than min_windows. regularisation: of the ridge, as a share of the features' mean variance.

    Attributes
    ----------
    coef_: float32 [K, C * bins]; intercept_: float32 [K].
    """

    def __init__(
        self,
        levels: Sequence[int] = (1, 2),
        keep: float = 0.2,
        min_windows: int = 100,
        regularisation: float = 0.1,
    ) -> None:
        if not 0 < keep <= 1:
            raise ConfigError(f"the share of windows to keep lies in 0 .. 1, not at {keep}")
        self.levels = tuple(levels)
        self.keep = keep
        self.min_windows = min_windows
        self.regularisation = regularisation
        self.coef_: Vectors
        self.intercept_: npt.NDArray[np.float32]

    def fit(self, vectors: Vectors, scores: npt.NDArray[np.floating]) -> Self:
        """Learn to say at once what the whole detector says: a ridge from coarse vectors [N, D] to scores [N, K]."""
        centre, target = vectors.mean(axis=0, dtype=np.float64), scores.mean(axis=0, dtype=np.float64)
        rows = (vectors - centre).astype(np.float32)
        gram = rows.T @ rows
        gram[np.diag_indices_from(gram)] += np.float32(self.regularisation) * np.trace(gram) / len(gram)
        coef = np.linalg.solve(gram, rows.T @ (scores - target).astype(np.float32))
        self.coef_ = np.ascontiguousarray(coef.T, np.float32)
        self.intercept_ = (target - centre @ coef).astype(np.float32)
        return self

    def scores(self, vectors: Vectors) -> npt.NDArray[np.float32]:
        """The first score of coarse vectors float32 [N, D]: float32 [N]."""
        return np.asarray((multiply(vectors, self.coef_.T) + self.intercept_).max(axis=1))

    def keeps(self, regions: Any, features: Any, boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Which windows go on, bool [N]. regions: SPPRegions, with the features of the image; boxes: float32 [N, 4]."""
        count = max(int(np.ceil(self.keep * len(boxes))), self.min_windows)
        stays = np.ones(len(boxes), bool)
        if count < len(boxes):
            scores = self.scores(regions.pool(features, boxes, levels=self.levels))
            stays[np.argsort(-scores, kind="stable")[count:]] = False
        return stays

    def state(self) -> dict[str, np.ndarray]:
        """What was learnt and the parameters, as arrays that go into a safetensors file."""
        return {
            "levels": np.array(self.levels, np.int64),
            "params": np.array([self.keep, self.min_windows, self.regularisation], np.float64),
            "coef": self.coef_,
            "intercept": self.intercept_,
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> Self:
        """Undo `state`. Raises KeyError for a missing array."""
        keep, min_windows, regularisation = state["params"].tolist()
        look = cls(state["levels"].tolist(), keep, int(min_windows), regularisation)
        look.coef_, look.intercept_ = state["coef"], state["intercept"]
        return look


def level_columns(channels: int, levels: Sequence[int], chosen: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where the bins of some levels of a pyramid lie in its pooled vectors: int64 [channels * bins of `chosen`].

    Raises ConfigError for a level that the pyramid lacks.
    """
    if not set(chosen) <= set(levels):
        raise ConfigError(f"a first look at the levels {list(chosen)} needs them among the pyramid's {list(levels)}")
    ends = np.cumsum([channels * n * n for n in levels])
    return np.concatenate([np.arange(ends[levels.index(n)] - channels * n * n, ends[levels.index(n)]) for n in chosen])
