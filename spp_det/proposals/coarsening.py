"""A coarser segmentation from a finer one: Felzenszwalb and Huttenlocher's rule goes on with a larger k.

The finer regions take the place of pixels: they keep their sizes and the weights of the last edges that joined them,
and the edges between them are taken in rising weight once more, under the larger k. So the coarser regions consist of
finer ones, and cost a small part of a segmentation from the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from spp_det.proposals.grouping import Regions
from spp_det.proposals.segmentation import SCALE, Segmentation, _ends, _find, _join, _number

CACHE = 1 << 12  # pairs of regions that are remembered, so that most edges of a long border are passed over


@dataclass(frozen=True)
class Borders:
    """The edges between regions, in rising weight; of every two that touch at least the first.

    inner: int32 [n], as in `Segmentation`. pairs: int32 [M, 2], regions. weights: uint16 [M], rounded.
    """

    inner: npt.NDArray[np.int32]
    pairs: npt.NDArray[np.int32]
    weights: npt.NDArray[np.uint16]


def borders(segmentation: Segmentation) -> Borders:
    """The borders of a segmentation from the pixels."""
    pairs, weights = _borders(segmentation.labels, segmentation.edges, segmentation.weights)
    return Borders(segmentation.inner, pairs, weights)


def coarsen(
    finer: Borders, sizes: npt.NDArray[np.int32], k: float, min_size: int
) -> tuple[npt.NDArray[np.int32], Borders]:
    """(for each finer region its coarser one, int32 [n], numbered by first appearance; the coarser ones' borders).

    sizes: int32 [n], pixels of the finer regions.
    """
    number, inner = _coarsen(finer.pairs, finer.weights, sizes, finer.inner, np.float32(k * SCALE), min_size)
    pairs = number[finer.pairs]
    apart = pairs[:, 0] != pairs[:, 1]
    return number, Borders(inner, pairs[apart], finer.weights[apart])


def join_regions(regions: Regions, number: npt.NDArray[np.int32]) -> Regions:
    """The coarser regions: sizes, boxes and histograms put together; neighbours in the order of the finer ones."""
    return Regions(
        regions.area,
        *_join_regions(regions.sizes, regions.boxes, regions.histograms, number, int(number.max()) + 1),
        *_join_neighbours(regions.starts, regions.neighbours, number, int(number.max()) + 1),
    )


@njit(cache=True, nogil=True)
def _borders(labels, edges, edge_weights):  # type: ignore[no-untyped-def]
    width = labels.shape[1]
    step = np.array([1, width, width + 1, 1 - width], np.int32)
    flat = labels.ravel()
    cache = np.full(CACHE, -1, np.int64)
    pairs = np.empty((len(edges), 2), np.int32)
    weights = np.empty(len(edges), np.uint16)
    count = 0
    for index in range(len(edges)):
        p, q = _ends(edges[index], step)
        a = min(flat[p], flat[q])
        b = max(flat[p], flat[q])
        pair = np.int64(a) << 32 | b
        place = (a * 61 + b) & (CACHE - 1)
        if a == b or cache[place] == pair:
            continue
        cache[place] = pair
        pairs[count, 0] = a
        pairs[count, 1] = b
        weights[count] = edge_weights[index]
        count += 1
    return pairs[:count].copy(), weights[:count].copy()


@njit(cache=True, nogil=True)
def _coarsen(pairs, weights, finer_sizes, finer_inner, k, min_size):  # type: ignore[no-untyped-def]
    n = len(finer_sizes)
    parent = np.arange(n).astype(np.uint32)
    sizes = finer_sizes.copy()
    inner = finer_inner.copy()
    for index in range(len(pairs)):
        a = _find(parent, np.uint32(pairs[index, 0]))
        b = _find(parent, np.uint32(pairs[index, 1]))
        if a == b:
            continue
        limit = min(inner[a] + k / np.float32(sizes[a]), inner[b] + k / np.float32(sizes[b]))
        if weights[index] <= limit:
            a = _join(parent, sizes, a, b)
            inner[a] = weights[index]
    for pair in pairs:
        a = _find(parent, np.uint32(pair[0]))
        b = _find(parent, np.uint32(pair[1]))
        if a != b and (sizes[a] < min_size or sizes[b] < min_size):
            _join(parent, sizes, a, b)
    number, count = _number(parent)
    inner_of = np.empty(count, np.int32)
    for region in range(n):
        if parent[region] == region:
            inner_of[number[region]] = inner[region]
    return number, inner_of


@njit(cache=True, nogil=True)
def _join_regions(finer_sizes, finer_boxes, finer_histograms, number, n):  # type: ignore[no-untyped-def]
    sizes = np.zeros(n, np.int32)
    boxes = np.empty((n, 4), np.int32)
    histograms = np.zeros((n, finer_histograms.shape[1]), np.float32)
    for region in range(len(number)):
        coarse = number[region]
        if sizes[coarse] == 0:
            boxes[coarse] = finer_boxes[region]
        else:
            boxes[coarse, :2] = np.minimum(boxes[coarse, :2], finer_boxes[region, :2])
            boxes[coarse, 2:] = np.maximum(boxes[coarse, 2:], finer_boxes[region, 2:])
        sizes[coarse] += finer_sizes[region]
    for region in range(len(number)):
        share = np.float32(finer_sizes[region] / sizes[number[region]])
        histogram = histograms[number[region]]
        for i in range(len(histogram)):
            histogram[i] += share * finer_histograms[region, i]
    return sizes, boxes, histograms


@njit(cache=True, nogil=True)
def _join_neighbours(finer_starts, finer_neighbours, number, n):  # type: ignore[no-untyped-def]
    """(starts, neighbours) of `Regions`; the members of a region one after another."""
    members = np.argsort(number, kind="mergesort")
    starts = np.zeros(n + 1, np.int64)
    neighbours = np.empty(len(finer_neighbours), np.int32)
    seen = np.full(n, -1, np.int32)
    count = 0
    for region in members:
        coarse = number[region]
        for index in range(finer_starts[region], finer_starts[region + 1]):
            other = number[finer_neighbours[index]]
            if other != coarse and seen[other] != coarse:
                seen[other] = coarse
                neighbours[count] = other
                count += 1
        starts[coarse + 1] = count
    return starts, neighbours[:count].copy()
