"""Hierarchical grouping (IJCV 2013, section 3.1): the two most similar neighbours join until one region is left.

The similarity of neighbours is the sum of the chosen terms (section 3.2), each in [0, 1]:

    colour, texture     intersection of the histograms
    size                1 - (|A| + |B|) / |image|
    fill                1 - (|box of A and B| - |A| - |B|) / |image|

A joined region's histogram is the mean of the two, weighted by their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from spp_det.proposals.histograms import COLOUR_BINS, ONE, ORIENTATIONS, TEXTURE_BINS


@dataclass(frozen=True)
class Similarity:
    """Which terms are added. Colour never comes without texture in the published sets, so neither does it here."""

    colour: bool
    texture: bool
    size: bool
    fill: bool


@dataclass(frozen=True)
class Regions:
    """The regions of one segmentation and what grouping needs of them.

    area: pixels of the image. sizes: int32 [n]. boxes: int32 [n, 4], inclusive pixels (x1, y1, x2, y2).
    histograms: float32 [n, D] of `region_histograms`. starts: int64 [n + 1] and neighbours: int32 [M]; the
    neighbours of region i are neighbours[starts[i] : starts[i + 1]].
    """

    area: int
    sizes: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]
    histograms: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    neighbours: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Hierarchy:
    """Regions 0 .. n - 1 of the segmentation, then n .. 2n - 2 as they arose; the last is the whole image.

    merges: int32 [n - 1, 2], the two regions that became n, n + 1, ... boxes: int32 [2n - 1, 4], inclusive pixels.
    """

    merges: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.int32]


def group(regions: Regions, similarity: Similarity) -> Hierarchy:
    """Joins the most similar neighbours until one region is left; of equally similar pairs the one found first."""
    length = regions.histograms.shape[1]
    channels = length // (COLOUR_BINS + ORIENTATIONS * TEXTURE_BINS)
    first = 0 if similarity.colour else channels * COLOUR_BINS
    last = length if similarity.texture else channels * COLOUR_BINS
    merges, boxes = _group(
        regions.area,
        regions.sizes,
        regions.boxes,
        np.ascontiguousarray(regions.histograms[:, first:last]).copy(),
        regions.starts,
        regions.neighbours,
        similarity.size,
        similarity.fill,
    )
    return Hierarchy(merges, boxes)


@njit(cache=True, nogil=True)
def _push(heap, count, key):  # type: ignore[no-untyped-def]
    """Adds a key to the binary min-heap heap[:count], which has room."""
    place = count
    while place > 0:
        above = (place - 1) >> 1
        if heap[above] <= key:
            break
        heap[place] = heap[above]
        place = above
    heap[place] = key


@njit(cache=True, nogil=True)
def _drop_first(heap, count):  # type: ignore[no-untyped-def]
    """Takes the least key, heap[0], out of the heap heap[:count]."""
    key = heap[count - 1]
    count -= 1
    place = 0
    below = 1
    while below + 1 < count:
        below += heap[below + 1] < heap[below]
        if key <= heap[below]:
            break
        heap[place] = heap[below]
        place = below
        below = 2 * place + 1
    if below + 1 == count and heap[below] < key:
        heap[place] = heap[below]
        place = below
    heap[place] = key


@njit(cache=True, nogil=True)
def _intersection(a, b):  # type: ignore[no-untyped-def]
    """The shared part of two histograms, each bin cut to an integer: the same sum in any order of adding.

    Held to 32 bits, where numba would go on in 64: the loop then takes twice as many bins at once.
    """
    total = np.int32(0)
    for i in range(len(a)):
        least = a[i] if a[i] < b[i] else b[i]
        total = np.int32(total + np.int32(least))
    return total


@njit(cache=True, nogil=True)
def _key(record, shared, size, box_a, box_b, use_size, use_fill, per_pixel):  # type: ignore[no-untyped-def]
    """A heap key: the most similar pair first, and of equally similar ones the one found first."""
    width = max(box_a[2], box_b[2]) - min(box_a[0], box_b[0]) + 1
    height = max(box_a[3], box_b[3]) - min(box_a[1], box_b[1]) + 1
    pixels = np.int64(0)  # what size and fill take off their ONE
    if use_size:
        pixels += size
    if use_fill:
        pixels += np.int64(width) * height - size
    dissimilarity = 2 * ONE - np.int64(shared) + np.int64(pixels * per_pixel)
    return (dissimilarity << 32) | record


@njit(cache=True, nogil=True)
def _cover(box, a, b):  # type: ignore[no-untyped-def]
    """Makes `box` the least one around two."""
    box[0] = min(a[0], b[0])
    box[1] = min(a[1], b[1])
    box[2] = max(a[2], b[2])
    box[3] = max(a[3], b[3])


@njit(cache=True, nogil=True)
def _blend(mine, theirs, share):  # type: ignore[no-untyped-def]
    """Makes `mine` the mean of two histograms, `mine` weighted by `share`."""
    rest = np.float32(1) - share
    for i in range(len(mine)):
        mine[i] = share * mine[i] + rest * theirs[i]


@njit(cache=True, nogil=True)
def _root(parent, region):  # type: ignore[no-untyped-def]
    """The living region that a region has become part of."""
    while parent[region] != region:
        parent[region] = parent[parent[region]]
        region = parent[region]
    return region


@njit(cache=True, nogil=True)
def _grown(array, length):  # type: ignore[no-untyped-def]
    larger = np.empty(length, array.dtype)
    larger[: len(array)] = array
    return larger


@njit(cache=True, nogil=True)
def _group(area, first_sizes, first_boxes, histograms, first_starts, neighbours, use_size, use_fill):  # type: ignore[no-untyped-def]
    """Merges and boxes of `Hierarchy`.

    A record is (one, other): a pair of neighbours. The records of a region lie together and are its neighbours at its
    birth; what has joined since is seen through `_root`. The heap holds a key for every pair, and drops those of dead
    regions when they come up. A joined region takes over one of the two rows of histograms (`row`).
    """
    n = len(first_sizes)
    total = 2 * n - 1
    per_pixel = ONE / area
    sizes = np.empty(total, np.int64)
    sizes[:n] = first_sizes
    boxes = np.empty((total, 4), np.int32)
    boxes[:n] = first_boxes
    merges = np.empty((n - 1, 2), np.int32)
    parent = np.arange(total).astype(np.int32)
    row = np.arange(total).astype(np.int32)
    seen = np.full(total, -1, np.int32)
    starts = np.empty(total + 1, np.int64)
    starts[: n + 1] = first_starts
    n_records = len(neighbours)
    capacity = 4 * n_records + 16
    other = _grown(neighbours, capacity)
    one = np.empty(capacity, np.int32)
    heap = np.empty(capacity, np.int64)
    count = 0
    for a in range(n):
        for record in range(starts[a], starts[a + 1]):
            one[record] = a
            b = other[record]
            if a < b:
                shared = _intersection(histograms[a], histograms[b])
                size = sizes[a] + sizes[b]
                _push(heap, count, _key(record, shared, size, boxes[a], boxes[b], use_size, use_fill, per_pixel))
                count += 1
    new = n
    while new < total:
        record = heap[0] & 0xFFFFFFFF
        _drop_first(heap, count)
        count -= 1
        a = one[record]
        b = other[record]
        if parent[a] != a or parent[b] != b:
            continue
        merges[new - n, 0] = a
        merges[new - n, 1] = b
        sizes[new] = sizes[a] + sizes[b]
        _cover(boxes[new], boxes[a], boxes[b])
        parent[a] = new
        parent[b] = new
        row[new] = row[a]
        histogram = histograms[row[new]]
        _blend(histogram, histograms[row[b]], np.float32(sizes[a] / sizes[new]))
        room = n_records + starts[a + 1] - starts[a] + starts[b + 1] - starts[b]
        if room > capacity:
            capacity = 2 * room
            other = _grown(other, capacity)
            one = _grown(one, capacity)
            heap = _grown(heap, capacity)
        for source in (a, b):
            for old in range(starts[source], starts[source + 1]):
                neighbour = _root(parent, other[old])
                if neighbour == new or seen[neighbour] == new:
                    continue
                seen[neighbour] = new
                one[n_records] = new
                other[n_records] = neighbour
                shared = _intersection(histogram, histograms[row[neighbour]])
                size = sizes[new] + sizes[neighbour]
                key = _key(n_records, shared, size, boxes[new], boxes[neighbour], use_size, use_fill, per_pixel)
                _push(heap, count, key)
                n_records += 1
                count += 1
        new += 1
        starts[new] = n_records
    return merges, boxes
