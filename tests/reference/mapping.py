"""Scale and cells of one window, one number at a time, with the release's own 1-based coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, sqrt


def paper_scale(box: Sequence[float], short: int, scales: Sequence[int]) -> int:
    """Index of the scale at which the window has a number of pixels closest to 224 * 224, exactly."""
    x1, y1, x2, y2 = map(Fraction, box)
    distances = [abs((x2 - x1) * (y2 - y1) * Fraction(s, short) ** 2 - 224 * 224) for s in scales]
    return distances.index(min(distances))


def released_scale(box: Sequence[float], short: int, scales: Sequence[int]) -> int:
    """Index of the scale closest to that at which the window's side is 208, of a 1-based inclusive box."""
    x1, y1, x2, y2 = box[0] + 1, box[1] + 1, box[2], box[3]
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    expected = floor(13 * 16 * short / sqrt(area) + 0.5)
    distances = [abs(s - expected) for s in scales]
    return distances.index(min(distances))


def paper_cells(first: float, last: float, cells: int, stride: int, offset: float) -> tuple[int, int]:
    """First and last cell of one axis: those whose centre lies strictly between the pixels `first` and `last`."""
    inside = [c for c in range(-1000, 1000) if first < offset + stride * c < last]
    if not inside:
        middle = (first + last) / 2
        distance = min(abs(offset + stride * c - middle) for c in range(-1000, 1000))
        inside = [c for c in range(-1000, 1000) if abs(offset + stride * c - middle) == distance][-1:]
    return min(max(inside[0], 0), cells - 1), min(max(inside[-1], 0), cells - 1)


def released_cells(
    first: float, last: float, ratio: float, cells: int, stride: int, offset0: float, offset: float
) -> tuple[int, int]:
    """First and last cell, counted from 1, of 1-based pixels `first` to `last` of the original image."""
    x0, x1 = (first - 1) * ratio + 1, (last - 1) * ratio + 1
    left = floor((x0 - offset0 + offset) / stride + 0.5) + 1
    right = ceil((x1 - offset0 - offset) / stride - 0.5) + 1
    if left > right:
        left = right = int((left + right) / 2)  # int() cuts towards zero, as C does
    return min(max(left, 1), cells), min(max(right, 1), cells)
