"""The mean and the deviation of the numbers in a vector, and learning on vectors without both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from spp_det.errors import SppDetError
from spp_det.structures import Boxes
from spp_det.training.source import Vectors, Windows, WindowSource
from spp_det.training.svm import LinearSVMs

IMAGES, WINDOWS = 150, 30  # that they are taken from: images, and windows of each
LEAST = 0.1  # deviation, of that of all numbers: one that few windows have would become very large for those


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the vectors of windows: mean and deviation of each number, float32 [D], and the mean norm of a vector.

    No deviation is below a tenth of that of all numbers together.
    """

    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    norm: float

    @classmethod
    def draw(cls, source: WindowSource, layer: str, seed: int) -> Self:
        """Those of windows of a source at a layer, drawn by the seed. Raises SppDetError where there is none."""
        rng = np.random.default_rng(seed)
        vectors = []
        for index in np.sort(rng.permutation(len(source))[:IMAGES]):
            boxes = source.windows(int(index)).boxes
            chosen = boxes[np.sort(rng.permutation(len(boxes))[:WINDOWS])]
            if len(chosen):
                vectors.append(source.features(int(index), chosen, layer))
        if not vectors:
            raise SppDetError("the training images have no window")
        drawn = np.concatenate(vectors)
        mean, deviation = drawn.mean(axis=0, dtype=np.float64), drawn.std(axis=0, dtype=np.float64)
        least = max(LEAST * float(np.sqrt(np.square(deviation).mean())), 1e-12)
        norm = float(np.linalg.norm(drawn, axis=1).mean(dtype=np.float64))
        return cls(mean.astype(np.float32), np.maximum(deviation, least).astype(np.float32), norm)

    def standardise(self, vectors: Vectors) -> Vectors:
        """Vectors float32 [N, D] with mean 0 and deviation 1, in place."""
        values = torch.from_numpy(vectors)  # its products take all processors
        values.sub_(torch.from_numpy(self.mean)).mul_(torch.from_numpy(1 / self.deviation))
        return vectors

    def fold(self, svms: LinearSVMs) -> LinearSVMs:
        """SVMs of standardised vectors, changed in place so that they give the same scores of vectors as they are."""
        slopes = svms.coef_ * svms.scale_ / self.deviation.astype(np.float64)  # of a score, by a number of the vector
        svms.scale_ = svms.target_norm / max(self.norm, 1e-12)
        svms.coef_ = (slopes / svms.scale_).astype(np.float32)
        svms.intercept_ = (svms.intercept_ - slopes @ self.mean).astype(np.float32)
        return svms


class StandardisedSource:
    """A source whose vectors at one layer are standardised.

    An SVM's regularisation treats all numbers alike, so that those with a large deviation decide, whatever they tell.
    """

    def __init__(self, source: WindowSource, moments: Moments) -> None:
        self.source, self.moments = source, moments

    def __len__(self) -> int:
        return len(self.source)

    def windows(self, index: int) -> Windows:
        """As in the source."""
        return self.source.windows(index)

    def features(self, index: int, boxes: Boxes, layer: str) -> Vectors:
        """The standardised vectors of boxes of image `index`: float32 [n, D]."""
        return self.moments.standardise(self.source.features(index, boxes, layer))

    def cell_ids(self, index: int, boxes: Boxes) -> npt.NDArray[np.int64] | None:
        """As in the source."""
        return self.source.cell_ids(index, boxes)

    def dim(self, layer: str) -> int:
        """As in the source."""
        return self.source.dim(layer)
