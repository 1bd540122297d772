"""What a segmentation's labels say of its regions: sizes, boxes, and which of them touch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit


def measure(labels: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(sizes int32 [n], boxes int32 [n, 4] of inclusive pixels) of the regions of labels, int32 [H, W]."""
    return _measure(labels, int(labels.max()) + 1)


def adjacency(labels: npt.NDArray[np.int32], n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(starts, neighbours) as in `grouping.Regions`: who touches by side or corner, in the order of `_borders`."""
    return _adjacency(labels, n)


@njit(cache=True, nogil=True)
def _measure(labels, n):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    sizes = np.zeros(n, np.int32)
    boxes = np.empty((n, 4), np.int32)
    boxes[:, 0] = width
    boxes[:, 1] = height
    boxes[:, 2:] = -1
    lasts = np.empty(width, np.int32)
    for y in range(height):
        row = labels[y]
        count = _differing(row[:-1], row[1:], lasts)
        lasts[count] = width - 1
        first = 0
        for last in lasts[: count + 1]:  # run by run
            region = row[last]
            sizes[region] += last + 1 - first
            boxes[region, 0] = min(boxes[region, 0], first)
            boxes[region, 1] = min(boxes[region, 1], y)
            boxes[region, 2] = max(boxes[region, 2], last)
            boxes[region, 3] = y
            first = last + 1
    return sizes, boxes


@njit(cache=True, nogil=True)
def _borders(labels):  # type: ignore[no-untyped-def]
    """The pairs of regions whose pixels touch: int32 [M, 2]; some come twice.

    Row by row: first neighbours in the row, then those in the row above and this, then those across a corner. Corners
    where two of the four pixels beside each other are alike add nothing new, which leaves few. Each row is searched
    without a branch for the pixels that differ from the next or from those above.
    """
    height, width = labels.shape
    pairs = np.empty((1024, 2), np.int32)
    count = 0
    found = np.empty(width, np.int32)
    for y in range(height):
        if count + 4 * width > len(pairs):
            larger = np.empty((2 * len(pairs) + 4 * width, 2), np.int32)
            larger[:count] = pairs[:count]
            pairs = larger
        row = labels[y]
        above = labels[max(y - 1, 0)]
        for x in found[: _differing(row[:-1], row[1:], found)]:
            count = _file(pairs, count, row[x], row[x + 1])
        below = found[: _differing(above, row, found)]
        for x in below:
            if x == 0 or above[x] != above[x - 1] or row[x] != row[x - 1]:
                count = _file(pairs, count, above[x], row[x])
        for i in range(len(below) - 1):
            x = below[i]
            if below[i + 1] > x + 1:
                continue
            a, b, c, d = above[x], above[x + 1], row[x], row[x + 1]
            if (a != b) & (c != d):
                if a != d:
                    count = _file(pairs, count, a, d)
                if b != c:
                    count = _file(pairs, count, b, c)
    return pairs[:count]


@njit(cache=True, nogil=True)
def _differing(one, other, found):  # type: ignore[no-untyped-def]
    """Where two rows differ: the places go to `found`, their count is returned."""
    count = 0
    for x in range(len(one)):
        found[count] = x
        count += one[x] != other[x]
    return count


@njit(cache=True, nogil=True)
def _file(pairs, count, a, b):  # type: ignore[no-untyped-def]
    pairs[count, 0] = a
    pairs[count, 1] = b
    return count + 1


@njit(cache=True, nogil=True)
def _adjacency(labels, n):  # type: ignore[no-untyped-def]
    pairs = _borders(labels)
    place = np.zeros(n + 1, np.int64)
    for i in range(len(pairs)):
        place[pairs[i, 0] + 1] += 1
        place[pairs[i, 1] + 1] += 1
    place = np.cumsum(place)
    found = np.empty(place[n], np.int32)
    for i in range(len(pairs)):
        a, b = pairs[i, 0], pairs[i, 1]
        found[place[a]] = b
        found[place[b]] = a
        place[a] += 1
        place[b] += 1  # at last the end of b's neighbours, the start of the next region's
    starts = np.zeros(n + 1, np.int64)
    seen = np.full(n, -1, np.int32)
    kept = 0
    for region in range(n):
        for index in range(place[region - 1] if region else 0, place[region]):
            other = found[index]
            if seen[other] != region:
                seen[other] = region
                found[kept] = other
                kept += 1
        starts[region + 1] = kept
    return starts, found[:kept].copy()
