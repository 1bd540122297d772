"""A first look at every window, by a few of its bins and channels, that drops the hopeless before they cost more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from spp_det.errors import ConfigError
from spp_det.pooling.pyramid import num_bins
from spp_det.products import multiply
from spp_det.threads import numba_threads

if TYPE_CHECKING:
    import torch
    from torch import nn

    from spp_det.regions import SPPRegions
    from spp_det.regions.maps import ImageMaps, LiveMaps
    from spp_det.structures import Boxes

Vector = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]  # [N, D]
Integers = npt.NDArray[np.int64]


CHANNELS = 64  # of the map that it sees, at most: with all 256 of AlexNet's it finds no more, and takes twice as long
UNITS = 64  # in its hidden layer
# What it learns: sigmoid(SHARPNESS * (score - MIDDLE)). Of SVMs whose margin is at -1 these are the scores that decide
# about average precision; the many windows just above the margin would hide them.
SHARPNESS, MIDDLE = 4.0, -0.3
CLASS_WEIGHT = 3.0  # of what it says of each class, beside what it says of the window
BATCH, EPOCHS, MIN_STEPS = 512, 8, 500
RATE, DECAY, DROPOUT = 3e-3, 0.1, 0.2


class FirstLook:
    """Scores of windows by a coarse pyramid and one small hidden layer; only the best windows of an image go on.

    A window's first score is its best over the classes. A share of the windows goes on rather than all above a score,
    so that the time of an image is known beforehand and an image of weak objects keeps its best ones too.

    Parameters
    ----------
    levels: n of each n x n level that it looks at. keep: the share of an image's distinct windows that goes on, in
    (0, 1], but never fewer than min_windows. seed: of the training.

    Attributes
    ----------
    hidden_coef_: float32 [H, C * bins] and hidden_intercept_: float32 [H], of units with a ReLU;
    coef_: float32 [K, H] and intercept_: float32 [K], of the classes; channels_: int64 [C], ascending, those of the map
    that it sees, or None for all.
    """

    def __init__(
        self, levels: Sequence[int] = (1, 2), keep: float = 0.1, min_windows: int = 100, seed: int = 0
    ) -> None:
        if not 0 < keep <= 1:
            raise ConfigError(f"the share of windows to keep lies in 0 .. 1, not at {keep}")
        self.levels = tuple(levels)
        self.keep = keep
        self.min_windows = min_windows
        self.seed = seed
        self.channels_: Integers | None = None
        self.hidden_coef_: Vectors
        self.hidden_intercept_: Vector
        self.coef_: Vectors
        self.intercept_: Vector

    def fit(self, vectors: npt.NDArray[np.floating], scores: npt.NDArray[np.floating]) -> Self:
        """Learn to say at once which windows the whole detector would score well, and for which class.

        vectors: coarse, float16 or float32 [N, D], of all channels; scores: the SVMs' [N, K]. Where there are more than
        CHANNELS, it learns twice, the second time from those that told most.
        """
        self.channels_ = None
        channels, remainder = divmod(vectors.shape[1], num_bins(self.levels))
        if remainder:
            raise ValueError(f"vectors of {vectors.shape[1]} numbers do not have the levels {list(self.levels)}")
        hidden, centre, deviation = self._learn(vectors, scores)
        if channels > CHANNELS:
            told = np.square(hidden * vectors.std(axis=0, dtype=np.float32)).sum(axis=0)
            of_each = np.bincount(_channel_of(channels, self.levels), told)
            self.channels_ = np.sort(np.argsort(-of_each, kind="stable")[:CHANNELS])
            seen = np.flatnonzero(np.isin(_channel_of(channels, self.levels), self.channels_))
            hidden, centre, deviation = self._learn(vectors[:, seen], scores)
        self.hidden_coef_ = np.ascontiguousarray(hidden / deviation, np.float32)
        self.hidden_intercept_ -= hidden @ (centre / deviation)
        return self

    def _learn(
        self, vectors: npt.NDArray[np.floating], scores: npt.NDArray[np.floating]
    ) -> tuple[Vectors, Vector, float]:
        """The hidden layer's coefficients for vectors of mean 0 and deviation 1, and these two; the rest is set."""
        centre, deviation = vectors.mean(axis=0, dtype=np.float32), max(float(vectors.std(dtype=np.float32)), 1e-12)
        hidden, out = _train((vectors.astype(np.float32) - centre) / deviation, scores, self.seed)
        self.hidden_intercept_ = hidden.bias.numpy()
        self.coef_, self.intercept_ = out.weight.numpy(), out.bias.numpy()
        return hidden.weight.numpy(), centre, deviation

    def fit_class(self, vectors: Vectors, scores: npt.NDArray[np.floating]) -> tuple[Vector, float]:
        """The row of `coef_` and the intercept of one more class, by the hidden units as they are.

        vectors: coarse, float32 [N, D]; scores: of the class's SVM [N].
        """
        return _train_row(self.hidden(vectors), scores)

    def coarse(self, regions: SPPRegions, features: ImageMaps | LiveMaps, boxes: Boxes) -> Any:
        """The coarse vectors of windows, float32 [N, 4], as it sees them: [N, D]. features: of the image."""
        seen = features if self.channels_ is None else features.of_channels(self.channels_)
        return regions.pool(seen, boxes, levels=self.levels)

    def hidden(self, vectors: Vectors) -> Vectors:
        """What the hidden units say of coarse vectors float32 [N, D]: float32 [N, H]."""
        values = multiply(vectors, self.hidden_coef_.T)
        values += self.hidden_intercept_
        return np.maximum(values, 0, out=values)

    def scores(self, vectors: Vectors) -> npt.NDArray[np.float32]:
        """The first score of coarse vectors float32 [N, D]: float32 [N]."""
        values = multiply(vectors, self.hidden_coef_.T)
        found = np.empty(len(values), np.float32)
        numba_threads()
        _best(values, self.hidden_intercept_, self.coef_, self.intercept_, found)
        return found

    def count(self, num: int) -> int:
        """How many of `num` windows go on."""
        return min(max(math.ceil(self.keep * num), self.min_windows), num)

    def keeps(self, regions: Any, features: Any, boxes: Boxes) -> npt.NDArray[np.bool_]:
        """Which windows go on, bool [N]. regions: SPPRegions, with the features of the image; boxes: float32 [N, 4]."""
        stays, count = np.ones(len(boxes), bool), self.count(len(boxes))
        if count < len(boxes):
            scores = self.scores(self.coarse(regions, features, boxes))
            stays[np.argsort(-scores, kind="stable")[count:]] = False
        return stays

    def check(self, channels: int, classes: int) -> Self:
        """Itself. Raises ValueError where it is not of a map of so many channels and of so many classes."""
        chosen = np.arange(channels) if self.channels_ is None else self.channels_
        units, seen = len(self.hidden_coef_), len(chosen) * num_bins(self.levels)
        wanted = {"hidden_coef": (units, seen), "hidden_intercept": (units,), "coef": (classes, units)}
        for name, shape in (wanted | {"intercept": (classes,)}).items():
            found = getattr(self, f"{name}_").shape
            if found != shape:
                raise ValueError(f"{name} is {list(found)}, not {list(shape)}")
        if chosen.min() < 0 or chosen.max() >= channels:
            raise ValueError(f"a channel is none of the map's {channels}")
        return self

    def state(self) -> dict[str, np.ndarray]:
        """What was learnt and the parameters, as arrays that go into a safetensors file."""
        return {
            "levels": np.array(self.levels, np.int64),
            "params": np.array([self.keep, self.min_windows, self.seed], np.float64),
            "channels": np.zeros(0, np.int64) if self.channels_ is None else self.channels_,
            "hidden_coef": self.hidden_coef_,
            "hidden_intercept": self.hidden_intercept_,
            "coef": self.coef_,
            "intercept": self.intercept_,
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> Self:
        """Undo `state`. Raises KeyError for a missing array."""
        keep, min_windows, seed = state["params"].tolist()
        look = cls(state["levels"].tolist(), keep, int(min_windows), int(seed))
        look.channels_ = state["channels"] if len(state["channels"]) else None
        look.hidden_coef_, look.hidden_intercept_ = state["hidden_coef"], state["hidden_intercept"]
        look.coef_, look.intercept_ = state["coef"], state["intercept"]
        return look


@njit(cache=True, nogil=True, parallel=True, fastmath={"reassoc", "contract"})
def _best(values, hidden_intercept, coef, intercept, found):  # type: ignore[no-untyped-def]
    """found[n] = the best over the classes of what units of values [N, H], before their intercept and ReLU, say."""
    for row in prange(len(values)):
        units = np.maximum(values[row] + hidden_intercept, np.float32(0))
        best = np.float32(-np.inf)
        for k in range(len(coef)):
            total = intercept[k]
            for h in range(len(units)):
                total += coef[k, h] * units[h]
            best = max(best, total)
        found[row] = best


def _train(vectors: Vectors, scores: npt.NDArray[np.floating], seed: int) -> tuple[nn.Linear, nn.Linear]:
    """The hidden layer and the classes' on vectors [N, D] of mean 0 and deviation 1.

    The loss is the cross-entropy of what it says of a window, its best score, which alone decides, and of what it says
    of each class, without which a class could not be taken away. By AdamW, the rate in one cycle.
    """
    import torch
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    random = torch.Generator().manual_seed(seed)
    values, targets = torch.from_numpy(vectors), _targets(scores)
    hidden, out = nn.Linear(vectors.shape[1], UNITS), nn.Linear(UNITS, scores.shape[1])
    with torch.no_grad():
        for layer in (hidden, out):
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=random)
            layer.bias.zero_()
        out.bias.copy_(targets.mean(0).logit())  # so that it need not learn first how rare objects are
    parameters = [*hidden.parameters(), *out.parameters()]
    steps = max(EPOCHS * -(-len(vectors) // BATCH), MIN_STEPS)
    optimiser = torch.optim.AdamW(parameters, RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for step in range(steps):
        start = step * BATCH % len(vectors)
        if start < BATCH:
            order = torch.randperm(len(vectors), generator=random)
        rows = order[start : start + BATCH]
        seen = values[rows] * (torch.rand(len(rows), values.shape[1], generator=random) >= DROPOUT) / (1 - DROPOUT)
        said, wanted = out(hidden(seen).relu()), targets[rows]
        loss = cross_entropy(said.amax(1), wanted.amax(1)) + CLASS_WEIGHT * cross_entropy(said, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return hidden.requires_grad_(False), out.requires_grad_(False)


def _train_row(values: Vectors, scores: npt.NDArray[np.floating]) -> tuple[Vector, float]:
    """A class's coefficients on hidden units [N, H] and its intercept: logistic, a little regularised."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    seen, wanted = torch.from_numpy(values), _targets(scores)
    row = torch.zeros(values.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([row], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = cross_entropy(seen @ row[:-1] + row[-1], wanted) + 1e-3 * row[:-1].square().sum()
        found.backward()
        return found

    optimiser.step(loss)
    learnt = row.detach().numpy()
    return learnt[:-1], float(learnt[-1])


def _targets(scores: npt.NDArray[np.floating]) -> torch.Tensor:
    import torch

    return torch.sigmoid(SHARPNESS * (torch.from_numpy(np.asarray(scores, np.float32)) - MIDDLE))


def _channel_of(channels: int, levels: Sequence[int]) -> Integers:
    """The channel of each number of a vector of these levels: int64 [channels * bins]."""
    return np.concatenate([np.repeat(np.arange(channels), n * n) for n in levels])


def level_columns(channels: int, levels: Sequence[int], chosen: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where the bins of some levels of a pyramid lie in its pooled vectors: int64 [channels * bins of `chosen`].

    Raises ConfigError for a level that the pyramid lacks.
    """
    if not set(chosen) <= set(levels):
        raise ConfigError(f"a first look at the levels {list(chosen)} needs them among the pyramid's {list(levels)}")
    ends = np.cumsum([channels * n * n for n in levels])
    return np.concatenate([np.arange(ends[levels.index(n)] - channels * n * n, ends[levels.index(n)]) for n in chosen])
