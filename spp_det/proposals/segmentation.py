"""Graph-based segmentation (Felzenszwalb and Huttenlocher, IJCV 2004): the regions that grouping starts from.

Pixels are nodes, the 8 neighbours are joined by edges that weigh the distance of their smoothed colours, and edges are
taken in rising weight. Two components join over an edge of weight w where

    w <= min(inner(A) + k / |A|, inner(B) + k / |B|)

with inner(A) the weight of the last edge that joined A (the paper's equations 2 to 4). Then every component of under
`min_size` pixels joins a neighbour, again in rising weight.

Weights are rounded to 1 / SCALE, so that one counting sort orders the edges, and the sorted edges serve every k.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

from spp_det.proposals.colour import Planes

SIGMA = 0.8  # of the Gaussian before segmentation, pixels
RADIUS = 4  # of its kernel: ceil(4 sigma), as in the published code
SCALE = 64  # steps of weight for one level of colour
BLOCK = 256  # edges that are looked at together
OUTSIDE = int(255 * 3**0.5 * SCALE) + 2  # from here on weights of edges that are none: above every real one


@dataclass(frozen=True)
class Grid:
    """The edges of an image in rising weight; ties by pixel, then by direction (right, down, down right, up right).

    size: (height, width). edges: int32 [E], pixel * 4 + direction. starts: int32 [OUTSIDE + 1]; the edges of the
    rounded weight w are edges[starts[w] : starts[w + 1]].
    """

    size: tuple[int, int]
    edges: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]


def smooth(planes: Planes) -> npt.NDArray[np.float32]:
    """Each plane under a Gaussian of SIGMA, the border repeated: float32 [C, H, W]."""
    kernel = cv2.getGaussianKernel(2 * RADIUS + 1, SIGMA)
    smoothed = np.empty(planes.shape, np.float32)
    for plane, out in zip(planes, smoothed, strict=True):
        cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel, dst=out, borderType=cv2.BORDER_REPLICATE)
    return smoothed


def sort_edges(smoothed: npt.NDArray[np.float32], prune: bool = False) -> Grid:
    """The edges of smoothed planes, float32 [C, H, W] in 0 .. 255, in order.

    prune: leaves out every edge that is the heaviest of a triangle of neighbours, a diagonal also where it ties. More
    than half of the edges are. When one's turn comes, the other two have joined its ends, or one of them was refused;
    only in the latter case can it still matter, and it seldom does.
    """
    weights = _weights(smoothed)
    if prune:
        weights = _pruned(weights)
    edges, starts = _counting_sort(weights)
    return Grid((smoothed.shape[1], smoothed.shape[2]), edges, starts)


@dataclass(frozen=True)
class Segmentation:
    """The regions of one k, and what `coarsening` continues from.

    labels: the region of each pixel, int32 [H, W], 0 .. n - 1 in the order in which a raster scan meets them.
    inner: int32 [n], the rounded weight of the last edge that joined the region, smaller ones left out of account.
    edges: int32 [M], as in `Grid`, in rising weight: all that join two regions, and some within one.
    weights: uint16 [M], those of the edges.
    """

    labels: npt.NDArray[np.int32]
    inner: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int32]
    weights: npt.NDArray[np.uint16]


def segment(grid: Grid, k: float, min_size: int) -> Segmentation:
    """The regions of the edges of an image, each of at least `min_size` pixels where the image has so many."""
    height, width = grid.size
    return Segmentation(*_segment(grid.edges, grid.starts, height, width, np.float32(k * SCALE), min_size))


@njit(cache=True, nogil=True)
def _weights(smoothed):  # type: ignore[no-untyped-def]
    """Rounded weights by direction: uint16 [4, H, W]; OUTSIDE + direction where the edge would leave the image."""
    channels, height, width = smoothed.shape
    weights = np.empty((4, height, width), np.uint16)
    square = np.empty(width, np.float32)
    for y in range(height):
        for direction in range(4):
            dy = (0, 1, 1, -1)[direction]
            dx = (1, 0, 1, 1)[direction]
            row = weights[direction, y]
            if y + dy < 0 or y + dy >= height:
                row[:] = OUTSIDE + direction
                continue
            square[:] = 0
            for c in range(channels):
                here = smoothed[c, y]
                there = smoothed[c, y + dy, dx:]
                for x in range(width - dx):
                    difference = here[x] - there[x]
                    square[x] += difference * difference
            for x in range(width - dx):
                row[x] = np.uint16(np.sqrt(square[x]) * np.float32(SCALE) + np.float32(0.5))
            row[width - dx :] = OUTSIDE + direction
    return weights


@njit(cache=True, nogil=True)
def _pruned(weights):  # type: ignore[no-untyped-def]
    """The weights, those of the edges to leave out replaced by OUTSIDE + direction.

    A square of four pixels has the edges top, bottom, left, right, falling and rising, and with either diagonal two
    triangles. One loop for each kind of edge, over the squares of a row, since that becomes SIMD.
    """
    _, height, width = weights.shape
    pruned = weights.copy()
    n = width - 1
    for y in range(height - 1):
        top, left, right, falling = weights[0, y], weights[1, y], weights[1, y, 1:], weights[2, y]
        bottom, rising = weights[0, y + 1], weights[3, y + 1]
        _drop_heaviest(pruned[0, y], top, right, falling, left, rising, 0, n)
        _drop_heaviest(pruned[0, y + 1], bottom, left, falling, right, rising, 0, n)
        _drop_heaviest(pruned[1, y], left, bottom, falling, top, rising, 1, n)
        _drop_heaviest(pruned[1, y, 1:], right, top, falling, bottom, rising, 1, n)
        _drop_heaviest(pruned[2, y], falling, top, right, left, bottom, 2, n)
        _drop_heaviest(pruned[3, y + 1], rising, top, left, right, bottom, 3, n)
    return pruned


@njit(cache=True, nogil=True)
def _drop_heaviest(pruned, edge, one, two, three, four, direction, n):  # type: ignore[no-untyped-def]
    """Drops the edges that outweigh both others of a triangle, one and two or three and four; diagonals if they tie."""
    margin = 1 if direction < 2 else 0
    for x in range(n):
        lightest = min(max(one[x], two[x]), max(three[x], four[x]))
        pruned[x] = OUTSIDE + direction if edge[x] >= lightest + margin else pruned[x]


@njit(cache=True, nogil=True)
def _counting_sort(weights):  # type: ignore[no-untyped-def]
    """What is no edge is counted too, without a branch, and goes to one place behind the edges.

    It has a weight for each direction, since a counter that is needed again at once has to wait for its last change.
    """
    _, height, width = weights.shape
    flat = weights.reshape(4, height * width)
    starts = np.zeros(OUTSIDE + 5, np.int32)
    for pixel in range(height * width):
        for direction in range(4):
            starts[flat[direction, pixel] + 1] += 1
    for weight in range(OUTSIDE):
        starts[weight + 1] += starts[weight]
    place = starts.copy()
    place[OUTSIDE:] = starts[OUTSIDE]
    edges = np.empty(starts[OUTSIDE] + 1, np.int32)
    for pixel in range(height * width):
        for direction in range(4):
            weight = flat[direction, pixel]
            edges[place[weight]] = 4 * pixel + direction
            place[weight] += weight < OUTSIDE
    return edges[: starts[OUTSIDE]], starts[: OUTSIDE + 1]


@njit(cache=True, nogil=True)
def _ends(edge, step):  # type: ignore[no-untyped-def]
    """The two pixels of an edge. Unsigned, since numba then leaves out the code for negative indices."""
    pixel = edge >> 2
    return np.uint32(pixel), np.uint32(pixel + step[edge & 3])


@njit(cache=True, nogil=True)
def _root(parent, node):  # type: ignore[no-untyped-def]
    """The root of a node, which is its own parent."""
    while node != parent[node]:
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _find(parent, node):  # type: ignore[no-untyped-def]
    """The root of a node. Links the node to it; starts two links up, where most often it is."""
    root = _root(parent, parent[parent[node]])
    parent[node] = root
    return root


@njit(cache=True, nogil=True)
def _join(parent, sizes, a, b):  # type: ignore[no-untyped-def]
    """Joins two roots and returns the new one: the larger of them, the first where they tie."""
    if sizes[a] < sizes[b]:
        a, b = b, a
    sizes[a] += sizes[b]
    parent[b] = a
    return a


@njit(cache=True, nogil=True)
def _open_edges(edges, first, last, step, parent, found, above):  # type: ignore[no-untyped-def]
    """Which of edges[first:last] may join two components: their indices go to `found`, their count is returned.

    It looks two links up rather than to the root, and without a branch: many edges end here at little cost. The nodes
    there go to `above`, uint32 [BLOCK, 2], since the roots are often these, and else above them.
    """
    count = 0
    for index in range(first, last):
        p, q = _ends(edges[index], step)
        a = parent[parent[p]]
        b = parent[parent[q]]
        found[count] = index
        above[count, 0] = a
        above[count, 1] = b
        count += a != b
    return count


@njit(cache=True, nogil=True)
def _crossing(edges, weights, step, parent):  # type: ignore[no-untyped-def]
    """Moves the edges between two components to the front, and their weights likewise; returns their count.

    It looks one link up, where the roots are if every node links to its root.
    """
    count = 0
    for index in range(len(edges)):
        p, q = _ends(edges[index], step)
        edges[count] = edges[index]
        weights[count] = weights[index]
        count += parent[p] != parent[q]
    return count


@njit(cache=True, nogil=True)
def _join_small(edges, step, parent, sizes, min_size):  # type: ignore[no-untyped-def]
    """Joins components of under `min_size` pixels to neighbours, in the order of the edges.

    The size one link up is the root's or an earlier, smaller one: where it suffices, the root's does.
    """
    for edge in edges:
        p, q = _ends(edge, step)
        if sizes[parent[p]] < min_size or sizes[parent[q]] < min_size:
            a = _find(parent, p)
            b = _find(parent, q)
            if a != b and (sizes[a] < min_size or sizes[b] < min_size):
                _join(parent, sizes, a, b)


@njit(cache=True, nogil=True)
def _segment(edges, starts, height, width, k, min_size):  # type: ignore[no-untyped-def]
    step = np.array([1, width, width + 1, 1 - width], np.int32)
    parent = np.empty(height * width, np.uint32)
    for pixel in range(height * width):
        parent[pixel] = pixel
    sizes = np.ones(height * width, np.int32)  # of roots
    inner = np.zeros(height * width, np.uint16)  # of roots
    limit = np.full(height * width, k, np.float32)  # inner + k / size, of roots
    refused = np.empty(len(edges), np.int32)
    weights = np.empty(len(edges), np.uint16)  # of the refused
    n_refused = 0
    found = np.empty(BLOCK, np.int32)
    above = np.empty((BLOCK, 2), np.uint32)
    weight = 0
    for first in range(0, len(edges), BLOCK):
        last = min(first + BLOCK, len(edges))
        for i in range(_open_edges(edges, first, last, step, parent, found, above)):
            index = found[i]
            p, q = _ends(edges[index], step)
            a = _root(parent, above[i, 0])
            b = _root(parent, above[i, 1])
            parent[p] = a
            parent[q] = b
            if a == b:
                continue
            while index >= starts[weight + 1]:
                weight += 1
            if weight <= limit[a] and weight <= limit[b]:
                a = _join(parent, sizes, a, b)
                inner[a] = weight
                limit[a] = np.float32(weight) + k / np.float32(sizes[a])
            else:
                refused[n_refused] = edges[index]
                weights[n_refused] = weight
                n_refused += 1
    for pixel in range(height * width):
        _find(parent, pixel)
    count = _crossing(refused[:n_refused], weights, step, parent)
    _join_small(refused[:count], step, parent, sizes, min_size)
    labels, n = _number(parent)
    inner_of = np.empty(n, np.int32)
    for pixel in range(height * width):
        if parent[pixel] == pixel:
            inner_of[labels[pixel]] = inner[pixel]
    return labels.reshape(height, width), inner_of, refused[:count].copy(), weights[:count].copy()


@njit(cache=True, nogil=True)
def _number(parent):  # type: ignore[no-untyped-def]
    """(labels int32, their number): components numbered by their first nodes. Links every node to its root."""
    number = np.full(len(parent), -1, np.int32)
    labels = np.empty(len(parent), np.int32)
    count = 0
    for node in range(len(parent)):
        root = _find(parent, node)
        if number[root] < 0:
            number[root] = count
            count += 1
        labels[node] = number[root]
    return labels, count
