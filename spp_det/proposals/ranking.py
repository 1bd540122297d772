"""The order of the windows of all hierarchies, and which of them are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from spp_det.proposals.grouping import Hierarchy

HASH = np.uint64(0x9E3779B97F4A7C15)  # an odd number whose product spreads keys over its upper bits (Knuth)


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
    first = _first_of_equals(boxes.astype(np.uint64))
    return first if overlap >= 1 else first[_distinct(boxes[first], overlap)]


@njit(cache=True, nogil=True)
def _first_of_equals(boxes):  # type: ignore[no-untyped-def]
    """The indices, rising, of the boxes, uint64 [N, 4], that equal none before them; by a hash table."""
    bits = 1
    while (1 << bits) < 2 * len(boxes):
        bits += 1
    slots = np.full(1 << bits, -1, np.int32)
    keys = np.empty(len(boxes), np.uint64)
    kept = np.empty(len(boxes), np.int64)
    count = 0
    for index in range(len(boxes)):
        x1, y1, x2, y2 = boxes[index]
        key = ((x1 << np.uint64(16) | y1) << np.uint64(16) | x2) << np.uint64(16) | y2
        keys[index] = key
        slot = (key * HASH) >> np.uint64(64 - bits)
        while slots[slot] >= 0 and keys[slots[slot]] != key:
            slot = (slot + np.uint64(1)) & np.uint64((1 << bits) - 1)
        if slots[slot] < 0:
            slots[slot] = index
            kept[count] = index
            count += 1
    return kept[:count]


@njit(cache=True, nogil=True)
def _distinct(boxes, overlap):  # type: ignore[no-untyped-def]
    """As `distinct`, where no two boxes are equal.

    Boxes of an IoU above `overlap` have areas within that factor. So a box is compared only with the kept ones of its
    drawer of areas and of the two beside it, drawers being a little wider than that factor.
    """
    share = np.float32(overlap / (1 + overlap))  # IoU > overlap where the intersection is above this of both areas
    per_log = 1 / (1.001 * np.log(1 / overlap))
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    drawers = (np.log(areas) * per_log).astype(np.int64) + 1
    sizes = np.zeros(int(np.log(2.0**32) * per_log) + 4, np.int64)
    for drawer in drawers:
        sizes[drawer] += 1
    starts = np.cumsum(sizes) - sizes
    ends = starts.copy()
    filed = np.empty((5, len(boxes)), np.float32)  # drawer by drawer the kept boxes: x1, y1, x2, y2, area
    kept = np.empty(len(boxes), np.int64)
    count = 0
    for index in range(len(boxes)):
        x1, y1, x2, y2 = boxes[index, 0], boxes[index, 1], boxes[index, 2], boxes[index, 3]
        area, drawer = areas[index], drawers[index]
        clashes = 0
        for near in range(drawer - 1, drawer + 2):
            clashes += _clashes(filed, starts[near], ends[near], x1, y1, x2, y2, area, share)
        if clashes == 0:
            end = ends[drawer]
            filed[0, end], filed[1, end], filed[2, end], filed[3, end], filed[4, end] = x1, y1, x2, y2, area
            ends[drawer] += 1
            kept[count] = index
            count += 1
    return kept[:count]


@njit(cache=True, nogil=True)
def _clashes(filed, first, last, x1, y1, x2, y2, area, share):  # type: ignore[no-untyped-def]
    """How many of the boxes filed[:, first:last] share more than that with a box. No branch, so it becomes SIMD."""
    left, top, right = filed[0, first:last], filed[1, first:last], filed[2, first:last]
    bottom, areas = filed[3, first:last], filed[4, first:last]
    count = np.int32(0)
    for i in range(last - first):
        width = min(x2, right[i]) - max(x1, left[i])
        height = min(y2, bottom[i]) - max(y1, top[i])
        count += np.int32((width > 0) & (height > 0) & (width * height > share * (area + areas[i])))
    return count
