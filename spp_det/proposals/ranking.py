"""The order of the windows of all hierarchies, and which of them are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from spp_det.proposals.grouping import Hierarchy


def rank(
    hierarchies: list[Hierarchy], generator: np.random.Generator, chance: float = 1.0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """The windows of all hierarchies and what orders them (IJCV 2013, section 3.3).

    Returns (boxes float32 [N, 4] in the package's convention, priorities float64 [N], the least is the best): a
    window's rank in its hierarchy, of which the whole image has 1, times a random number in [1 - chance, 1).
    """
    boxes = np.concatenate([h.boxes[::-1] for h in hierarchies]).astype(np.float32)
    boxes[:, 2:] += 1  # inclusive pixels to continuous ones
    ranks = np.concatenate([np.arange(1, len(h.boxes) + 1) for h in hierarchies])
    return boxes, ranks * (1 - chance + chance * generator.random(len(ranks)))


def distinct(boxes: npt.NDArray[np.float32], overlap: float) -> npt.NDArray[np.int64]:
    """The indices, rising, of the boxes that are kept where each is compared with those kept before it.

    boxes: float32 [N, 4] of whole numbers below 2^16. One is dropped where it equals one before it, and where its IoU
    with a kept one is above `overlap`.
    """
    x1, y1, x2, y2 = boxes.astype(np.int64).T
    _, first = np.unique(((x1 << 16 | y1) << 16 | x2) << 16 | y2, return_index=True)
    first.sort()
    return first if overlap >= 1 else first[_distinct(boxes[first], overlap)]


@njit(cache=True, nogil=True)
def _distinct(boxes, overlap):  # type: ignore[no-untyped-def]
    """As `distinct`, where no two boxes are equal.

    Boxes of an IoU above `overlap` have areas within that factor. So a box is compared only with the kept ones of its
    drawer of areas and of the two beside it, drawers being a little wider than that factor.
    """
    share = np.float32(
        overlap / (1 + overlap)
    )  # IoU > overlap where the intersection is above this share of both areas
    per_log = 1 / (1.001 * np.log(1 / overlap))
    newest = np.full(int(np.log(2.0**32) * per_log) + 3, -1, np.int32)  # of a drawer, then back along `older`
    older = np.empty(len(boxes), np.int32)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = np.empty(len(boxes), np.int64)
    count = 0
    for index in range(len(boxes)):
        x1, y1, x2, y2 = boxes[index]
        drawer = int(np.log(areas[index]) * per_log) + 1
        clash = False
        for near in range(drawer - 1, drawer + 2):
            other = newest[near]
            while other >= 0 and not clash:
                width = min(x2, boxes[other, 2]) - max(x1, boxes[other, 0])
                height = min(y2, boxes[other, 3]) - max(y1, boxes[other, 1])
                both = areas[index] + areas[other]
                clash = width > 0 and height > 0 and width * height > share * both
                other = older[other]
        if not clash:
            older[index] = newest[drawer]
            newest[drawer] = index
            kept[count] = index
            count += 1
    return kept[:count]
