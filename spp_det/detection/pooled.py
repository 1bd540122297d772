"""Windows of one image on their way through a detector: pooled, then scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spp_det.regions import RegionExtractor, SPPRegions
from spp_det.structures import Boxes, Labels

if TYPE_CHECKING:  # else it would load torch
    from torch import Tensor


Vectors: TypeAlias = npt.NDArray[np.float32]  # [N, D]
Readable: TypeAlias = "Vectors | Tensor | LaterVectors"  # by rows
BLOCK = 1024  # vectors that are float32 at a time: 64 MB of 16,000
MOST = 80_000_000  # numbers of pooled vectors that are kept: 160 MB of bfloat16, twice that of float32


class LaterVectors:
    """Pooled vectors that are made of the maps, by rows, whenever they are read: all would take too much memory.

    boxes: float32 [M, 4], one for each vector.
    """

    def __init__(self, regions: RegionExtractor, features: Any, boxes: Boxes) -> None:
        self._regions, self._features, self._boxes = regions, features, boxes

    @staticmethod
    def needed(regions: RegionExtractor, count: int) -> bool:
        """Whether so many vectors are too many; never where each is a pass of the trunk, as R-CNN's are."""
        return isinstance(regions, SPPRegions) and count * regions.dim("pool5") > MOST

    def __len__(self) -> int:
        return len(self._boxes)

    def __getitem__(self, rows: slice | Labels) -> Vectors | Tensor:
        return self._regions.pooled(self._features, self._boxes[rows])


def as_float32(vectors: Vectors | Tensor) -> Vectors:
    """Vectors as an array, wherever they lie."""
    return vectors if isinstance(vectors, np.ndarray) else vectors.float().cpu().numpy()


@dataclass(frozen=True, eq=False)
class PooledWindows:
    """Windows of one image and their pooled vectors; windows of the same cells share one.

    features: what was computed once for the image; rows: int64 [n], of the image's proposals; boxes: float32 [n, 4],
    theirs; place: int64 [n], the row of each one's vector; vectors: [M, D],
    float32, or a tensor in the networks' type, or made when they are read.
    """

    features: Any
    rows: Labels
    boxes: Boxes
    place: Labels
    vectors: Readable


@dataclass(frozen=True, eq=False)
class ScoredWindows:
    """Windows of one image with a score for every class.

    rows, boxes, place: as in PooledWindows; scores: [n, K], SVM margins; located: the vectors that the regressor
    reads, [M, D], likewise.
    """

    rows: Labels
    boxes: Boxes
    scores: npt.NDArray[np.floating]
    place: Labels
    located: Readable
