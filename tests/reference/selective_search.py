"""Slow, plain definitions of the parts of selective search: loops, lists and dictionaries, float64 where it may be."""

from __future__ import annotations

import math

import numpy as np

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (-1, 1))  # (dy, dx): right, down, down right, up right


def gaussian_blur(plane: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """[H, W] under a normalised Gaussian of 2 * radius + 1 taps, the border repeated; float64."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return _separable(plane, taps / taps.sum(), taps / taps.sum())


def derivatives(plane: np.ndarray, sigma: float, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """(d/dx, d/dy) of the plane under a Gaussian; float64."""
    offsets = np.arange(-radius, radius + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    taps = taps / taps.sum()
    slope = taps * offsets / sigma**2
    return _separable(plane, slope, taps), _separable(plane, taps, slope)


def _separable(plane: np.ndarray, along_x: np.ndarray, along_y: np.ndarray) -> np.ndarray:
    radius = len(along_x) // 2
    height, width = plane.shape
    padded = np.pad(plane.astype(np.float64), radius, mode="edge")
    rows = sum(along_x[i] * padded[:, i : i + width] for i in range(2 * radius + 1))
    return sum(along_y[i] * rows[i : i + height] for i in range(2 * radius + 1))


def segment(smoothed: np.ndarray, k: float, min_size: int, scale: int) -> list[list[int]]:
    """Felzenszwalb and Huttenlocher's algorithm on float32 [C, H, W], weights in rounded steps of 1 / scale.

    Labels as nested lists, numbered by first appearance in a raster scan. A component is a set of pixels.
    """
    return segment_chain(smoothed, [(k, min_size)], scale)[0]


def segment_chain(smoothed: np.ndarray, chain: list[tuple[float, int]], scale: int) -> list[list[list[int]]]:
    """`segment` for the first (k, min_size); for every further one the components go on to join over all edges."""
    _, height, width = smoothed.shape
    edges = []
    for y in range(height):
        for x in range(width):
            for dy, dx in DIRECTIONS:
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    square = np.float32(0)
                    for channel in smoothed:
                        difference = channel[y, x] - channel[y + dy, x + dx]
                        square = square + difference * difference
                    weight = math.floor(np.sqrt(square) * np.float32(scale) + np.float32(0.5))
                    edges.append((weight, (y, x), (y + dy, x + dx)))
    edges.sort(key=lambda edge: edge[0])  # stable

    component = {(y, x): {(y, x)} for y in range(height) for x in range(width)}
    inner = {id(pixels): 0 for pixels in component.values()}

    def join(a: set, b: set) -> set:
        """The larger takes the smaller in."""
        a, b = (b, a) if len(a) < len(b) else (a, b)
        a |= b
        for pixel in b:
            component[pixel] = a
        return a

    found = []
    for k, min_size in chain:
        for weight, p, q in edges:
            a, b = component[p], component[q]
            if a is not b and weight <= min(inner[id(a)] + k * scale / len(a), inner[id(b)] + k * scale / len(b)):
                inner[id(join(a, b))] = weight
        for _, p, q in edges:
            a, b = component[p], component[q]
            if a is not b and min(len(a), len(b)) < min_size:
                join(a, b)
        names: dict[int, int] = {}
        found.append([[names.setdefault(id(component[y, x]), len(names)) for x in range(width)] for y in range(height)])
    return found


def distinct(boxes: list[list[int]], overlap: float) -> list[int]:
    """The indices of boxes that equal no earlier one and overlap none of those kept before by more than `overlap`."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if box not in boxes[:index] and all(overlap_of(box, boxes[other]) <= overlap for other in kept):
            kept.append(index)
    return kept


def overlap_of(a: list[int], b: list[int]) -> float:
    """Intersection over union."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (areas - width * height)


def neighbours(labels: np.ndarray) -> list[list[int]]:
    """The regions that touch each region by side or corner, in the order of the first touch.

    Row by row: within the row, then between the row above and this one: straight, then across the two diagonals.
    """
    height, width = labels.shape
    found: list[list[int]] = [[] for _ in range(labels.max() + 1)]

    def touch(p: tuple[int, int], q: tuple[int, int]) -> None:
        a, b = int(labels[p]), int(labels[q])
        if a != b and b not in found[a]:
            found[a].append(b)
            found[b].append(a)

    for y in range(height):
        for x in range(width - 1):
            touch((y, x), (y, x + 1))
        for x in range(width if y else 0):
            touch((y - 1, x), (y, x))
        for x in range(width - 1 if y else 0):
            touch((y - 1, x), (y, x + 1))
            touch((y - 1, x + 1), (y, x))
    return found


def histogram(plane_values: np.ndarray, slopes: list[tuple[np.ndarray, np.ndarray]], step: float) -> np.ndarray:
    """One region's histograms, colour then texture, either of sum 1.

    plane_values: [C, pixels], 0 .. 255. slopes: for each channel (d/dx, d/dy) at those pixels.
    """
    colour = [np.histogram(values, bins=np.arange(26) * 256 / 25)[0] for values in plane_values]
    texture = []
    for dx, dy in slopes:
        for orientation in range(8):
            angle = orientation * math.pi / 4
            along = np.maximum(math.cos(angle) * dx + math.sin(angle) * dy, 0)
            texture.append(np.bincount(np.minimum(along // step, 9).astype(int), minlength=10))
    parts = [np.concatenate(colour).astype(float), np.concatenate(texture).astype(float)]
    return np.concatenate([part / part.sum() for part in parts])


def group(
    labels: np.ndarray,
    histograms: np.ndarray,
    use_size: bool,
    use_fill: bool,
    one: int,
) -> tuple[list[tuple[int, int]], list[tuple[int, int, int, int]]]:
    """Merges and boxes (inclusive pixels) of hierarchical grouping; every step looks through all pairs there are.

    histograms: float32 [n, D] of the terms that count, each summing to `one`.
    """
    area = labels.size
    pixels = [int((labels == i).sum()) for i in range(labels.max() + 1)]
    boxes = []
    for i in range(len(pixels)):
        ys, xs = np.nonzero(labels == i)
        boxes.append((int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())))
    vectors = list(histograms)
    touching = neighbours(labels)
    alive = set(range(len(pixels)))

    def similarity(a: int, b: int) -> int:
        shared = int(np.minimum(vectors[a], vectors[b]).astype(np.int64).sum())
        box = union(boxes[a], boxes[b])
        extent = (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
        both = pixels[a] + pixels[b]
        lost = (both if use_size else 0) + (extent - both if use_fill else 0)
        return shared - int(lost * (one / area))

    pairs = [(a, b, similarity(a, b)) for a in range(len(pixels)) for b in touching[a] if a < b]
    merges = []
    while len(alive) > 1:
        pairs = [pair for pair in pairs if pair[0] in alive and pair[1] in alive]
        a, b, _ = max(pairs, key=lambda pair: pair[2])  # the first of equals
        new = len(pixels)
        merges.append((a, b))
        pixels.append(pixels[a] + pixels[b])
        boxes.append(union(boxes[a], boxes[b]))
        share = np.float32(pixels[a] / pixels[new])
        vectors.append(share * vectors[a] + (np.float32(1) - share) * vectors[b])
        around = [c for c in dict.fromkeys(touching[a] + touching[b]) if c not in (a, b)]
        touching.append(around)
        for c in range(len(touching) - 1):
            touching[c] = list(dict.fromkeys(new if d in (a, b) else d for d in touching[c]))
        alive -= {a, b}
        alive.add(new)
        pairs += [(new, c, similarity(new, c)) for c in around]
    return merges, boxes


def union(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The least box around two."""
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
