"""IoU by counting pixels, for boxes with whole coordinates."""

from __future__ import annotations

import numpy as np


def iou_of_pixels(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a [N, 4], b [M, 4] of whole, non-negative coordinates -> float64 [N, M]."""
    return np.array([[_iou(_pixels(one), _pixels(other)) for other in b] for one in a]).reshape(len(a), len(b))


def _pixels(box: np.ndarray) -> set[tuple[int, int]]:
    """The pixels that a box covers: pixel (x, y) reaches from x to x + 1 and from y to y + 1."""
    x1, y1, x2, y2 = (int(value) for value in box)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def _iou(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> float:
    return len(a & b) / len(a | b)


def iou_of_devkit(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two VOC annotations (xmin, ymin, xmax, ymax), 1-based and inclusive, as VOCevaldet.m counts it."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (areas[0] + areas[1] - width * height)
