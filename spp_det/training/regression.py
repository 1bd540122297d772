"""Box regression: a ridge per class, from the pooled features of a window to where its object lies (R-CNN, app. C)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from spp_det.boxes import encode, move
from spp_det.processes import ALONE, Processes
from spp_det.structures import Boxes, Labels, Size
from spp_det.training.ridge import solve_ridge
from spp_det.training.source import Progress, Vectors, WindowSource, count_classes, silent
from spp_det.training.svm import feature_norm

Rows = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float32]  # [D + 1, 4], the last row for the constant feature 1


@dataclass(frozen=True, eq=False)
class Examples:
    """The windows that one class's regressor learns from.

    images: int64 [n], ascending; boxes: float32 [n, 4]; offsets: float32 [n, 4], from each box to its object.
    """

    images: npt.NDArray[np.int64]
    boxes: Boxes
    offsets: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: npt.NDArray[np.int64]) -> Examples:
        return Examples(self.images[index], self.boxes[index], self.offsets[index])

    def by_image(self) -> Iterator[tuple[int, Boxes]]:
        """(image, the boxes of its examples), image by image."""
        for image in np.unique(self.images):
            yield int(image), self.boxes[self.images == image]


@dataclass(frozen=True, eq=False)
class RegressionMemory:
    """The examples of one class with their vectors, so that more can join them later.

    features: float16 [n, D], unscaled; offsets: float32 [n, 4], from each box to its object.
    """

    features: npt.NDArray[np.float16]
    offsets: npt.NDArray[np.float32]

    def __add__(self, more: RegressionMemory) -> RegressionMemory:
        both = (self, more)
        features = np.concatenate([memory.features for memory in both])
        return RegressionMemory(features, np.concatenate([memory.offsets for memory in both]))


class BoxRegressor:
    """One linear regressor of box offsets per class, over features scaled to a mean norm.

    Parameters
    ----------
    regularisation: lambda of the ridge; 1000 in R-CNN, 4000 in SPP-net's release.
    min_overlap: the least overlap of an example with its object; strict: more than that, as the release has it.
    layer: whose features. target_norm: the mean norm that they are scaled to; norm_seed: of the windows for the mean.
    max_windows_per_class: the most examples of a class, chosen by the seed where there are more; 0 for all.

    Attributes
    ----------
    weights_: float32 [K, D + 1, 4], offsets from scaled features and a last constant 1. A class without an example
    has zeros, which leaves boxes as they are. scale_: what features are multiplied by.
    """

    def __init__(
        self,
        regularisation: float = 1000.0,
        min_overlap: float = 0.5,
        strict: bool = False,
        layer: str = "pool5",
        target_norm: float = 20.0,
        norm_seed: int = 3,
        max_windows_per_class: int = 0,
        seed: int = 0,
    ) -> None:
        self.regularisation = regularisation
        self.min_overlap = min_overlap
        self.strict = strict
        self.layer = layer
        self.target_norm = target_norm
        self.norm_seed = norm_seed
        self.max_windows_per_class = max_windows_per_class
        self.seed = seed
        self.weights_: npt.NDArray[np.float32]
        self.scale_: float

    def fit(
        self,
        source: WindowSource,
        known: MutableMapping[int, Weights] | None = None,
        progress: Progress = silent,
        here: Processes = ALONE,
    ) -> Self:
        """Learn all classes.

        known: the weights of classes that an earlier, killed run finished; those of the others are put there as they
        come, so that the caller can store them. here: the processes that share the classes; what one of them puts into
        its `known` is then to be found in that of all. progress: windows done, of all.
        """
        known = {} if known is None else known
        self.scale_ = self._scale(source, here)
        examples = self.select(source)
        counts = [len(each) for each in examples]
        there = here.agree(lambda: [label for label in range(len(examples)) if label in known])
        count = here.counter(sum(counts[label] for label in there))
        largest_first = sorted(set(range(len(examples))).difference(there), key=lambda label: -counts[label])
        for label in here.deal(largest_first):
            known[label] = self._fit_examples(source, examples[label])
            progress(count(counts[label]), sum(counts))
        here.wait()
        self.weights_ = np.stack([known[label] for label in range(len(examples))])
        return self

    def fit_class(self, source: WindowSource, label: int) -> Weights:
        """One class's weights: float32 [D + 1, 4]. `fit` gives the same and looks at the windows only once for all."""
        self.scale_ = self._scale(source)
        return self._fit_examples(source, self.select(source)[label])

    def remember(self, source: WindowSource, label: int) -> RegressionMemory:
        """The examples of one class, to fit now with `fit_memory`, and again when more come."""
        examples = self.select(source)[label]
        dim = source.dim(self.layer)
        found = [source.features(image, boxes, self.layer).astype(np.float16) for image, boxes in examples.by_image()]
        return RegressionMemory(np.concatenate([np.zeros((0, dim), np.float16), *found]), examples.offsets)

    def fit_memory(self, memory: RegressionMemory) -> Weights:
        """One class's weights, float32 [D + 1, 4], at the scale that the regressor has."""
        return self._fit_offsets([self._with_constant(memory.features)], memory.offsets, memory.features.shape[1])

    def select(self, source: WindowSource) -> list[Examples]:
        """The examples of each class: windows that overlap their best object, which is of the class, enough."""
        num_classes = count_classes(source)
        images, labels, boxes, matched = [], [], [], []
        for image in range(len(source)):
            windows = source.windows(image)
            near = windows.best > self.min_overlap if self.strict else windows.best >= self.min_overlap
            near &= windows.exhaustive  # without proposals there is nothing to move
            images.append(np.full(int(near.sum()), image))
            labels.append(windows.labels[near])
            boxes.append(windows.boxes[near])
            matched.append(windows.matched[near])
        label_of = np.concatenate(labels)
        everything = Examples(
            np.concatenate(images), np.concatenate(boxes), encode(np.concatenate(boxes), np.concatenate(matched))
        )
        return [everything[self._limit(np.flatnonzero(label_of == label), label)] for label in range(num_classes)]

    def predict(self, features: Vectors, labels: Labels, rows: Rows | None = None) -> npt.NDArray[np.float32]:
        """Offsets for unscaled features [M, D], by the regressor of each one's class, labels [N]: float32 [N, 4].

        rows: int64 [N], whose features each is for, so that a vector which several classes need is there once; n for
        the n-th by default. The vectors of one class are gathered at a time: those of all may be large.
        """
        rows = np.arange(len(features)) if rows is None else rows
        offsets = np.zeros((len(rows), 4), np.float32)
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels == label)
            weights = self.weights_[label]
            offsets[of_class] = features[rows[of_class]] @ weights[:-1] * np.float32(self.scale_) + weights[-1]
        return offsets

    def apply(self, features: Vectors, boxes: Boxes, labels: Labels, size: Size, rows: Rows | None = None) -> Boxes:
        """The boxes moved by what their features say, float32 [N, 4]; see `predict`, and `move` in boxes.py."""
        return move(boxes, self.predict(features, labels, rows), size)

    def state(self) -> dict[str, np.ndarray]:
        """What was learnt, as arrays that go into a safetensors file."""
        return {"weights": self.weights_, "scale": np.array(self.scale_, np.float64)}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray], **params: float | str | bool) -> Self:
        """Undo `state`; the parameters, which prediction does not need, as to the constructor."""
        regressor = cls(**params)  # type: ignore[arg-type]
        regressor.weights_ = state["weights"]
        regressor.scale_ = float(state["scale"])
        return regressor

    def _fit_examples(self, source: WindowSource, examples: Examples) -> Weights:
        return self._fit_offsets(self._feature_blocks(source, examples), examples.offsets, source.dim(self.layer))

    def _fit_offsets(self, blocks: Iterable[Vectors], offsets: npt.NDArray[np.float32], dim: int) -> Weights:
        if not len(offsets):
            return np.zeros((dim + 1, 4), np.float32)
        targets, mean, unwhiten = whiten(offsets)
        weights = solve_ridge(blocks, targets, dim + 1, self.regularisation) @ unwhiten
        weights[-1] += mean
        return weights.astype(np.float32)

    def _feature_blocks(self, source: WindowSource, examples: Examples) -> Iterator[Vectors]:
        """The scaled features with a last constant 1 of the examples of each image: float32 [n, D + 1]."""
        for image, boxes in examples.by_image():
            yield self._with_constant(source.features(image, boxes, self.layer))

    def _with_constant(self, features: npt.NDArray[np.floating]) -> Vectors:
        scaled = features * np.float32(self.scale_)
        return np.concatenate([scaled, np.ones((len(features), 1), np.float32)], axis=1)

    def _limit(self, rows: npt.NDArray[np.int64], label: int) -> npt.NDArray[np.int64]:
        if not self.max_windows_per_class or len(rows) <= self.max_windows_per_class:
            return rows
        rng = np.random.default_rng([self.seed, label])
        return np.sort(rng.choice(rows, self.max_windows_per_class, replace=False))

    def _scale(self, source: WindowSource, here: Processes = ALONE) -> float:
        return self.target_norm / feature_norm(source, self.layer, self.norm_seed, here=here)


def whiten(offsets: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], ...]:
    """Decorrelate the offsets of a class: (whitened float64 [n, 4], mean [4], the matrix that undoes it [4, 4]).

    whitened = (offsets - mean) T with T = V (D + 0.001)^-1/2 V' of the covariance V D V' (bbox regression of R-CNN's
    release); offsets = whitened T^-1 + mean.
    """
    mean = offsets.mean(axis=0, dtype=np.float64)
    centred = offsets - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(offsets))
    roots = np.sqrt(np.maximum(values, 0) + 0.001)
    return centred @ (vectors / roots @ vectors.T), mean, vectors * roots @ vectors.T
