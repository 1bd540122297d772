"""What training asks of its data: windows of images, what they overlap, and their vectors.

The pipeline implements both sources over its store; a test implements it over a few arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spp_det.errors import SppDetError
from spp_det.structures import Boxes, Labels, Mask

Vectors = npt.NDArray[np.float32]  # [N, D]
Progress = Callable[[int, int], None]  # (done, total), after each step


def silent(done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of one training image and what they overlap: the ground truth first, then the proposals.

    boxes: float32 [N, 4].
    overlaps: float32 [N, K] in [0, 1], the greatest IoU with an object of each class, 0 where there is none.
    is_truth: bool [N], which windows are ground truth.
    labels: int64 [N], the class of the object that each overlaps best; it means nothing where the overlap is 0.
    matched: float32 [N, 4], the box of that object; the window itself where the overlap is 0.
    exhaustive: whether every object of the image is marked; else there are no negatives in it, nor proposals.
    """

    boxes: Boxes
    overlaps: npt.NDArray[np.float32]
    is_truth: Mask
    labels: Labels
    matched: Boxes
    exhaustive: bool = True

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def best(self) -> npt.NDArray[np.float32]:
        """The greatest IoU of each window with any object: float32 [N]."""
        return self.overlaps.max(axis=1, initial=0.0)


class WindowSource(Protocol):
    """The training images in list order, with the windows of each and their vectors."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def windows(self, index: int) -> Windows:
        """The windows of image `index`; none at all is allowed."""
        ...

    def features(self, index: int, boxes: Boxes, layer: str) -> Vectors:
        """The vectors of boxes of image `index` at `layer` ("pool5", "fc6", "fc7"): float32 [n, dim(layer)]."""
        ...

    def cell_ids(self, index: int, boxes: Boxes) -> npt.NDArray[np.int64] | None:
        """A number for each box, equal where boxes pool the same cells of the same map: int64 [n]; None: not known."""
        ...

    def dim(self, layer: str) -> int:
        """The length of a vector at `layer`."""
        ...


class PooledSource(WindowSource, Protocol):
    """What fine-tuning asks for besides: pooled vectors, of mirrored images and of a chosen scale too."""

    def pooled(
        self, index: int, boxes: Boxes, *, flipped: bool = False, scale_indices: npt.NDArray[np.int64] | None = None
    ) -> Vectors:
        """Pooled vectors of boxes of image `index`: float32 [n, D].

        boxes: float32 [n, 4] on the image as it is, also where `flipped` asks for the vectors of its mirror image.
        scale_indices: int64 [n] in 0 .. num_scales - 1, the scale of each box; None leaves it to the source's rule.
        """
        ...

    @property
    def num_scales(self) -> int:
        """The number of scales that the images were mapped at."""
        ...


def count_classes(source: WindowSource) -> int:
    """K, as the windows of the first image show it. Raises SppDetError where there is no image."""
    if not len(source):
        raise SppDetError("there is no training image")
    return source.windows(0).overlaps.shape[1]
