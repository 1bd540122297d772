"""Pure functions on boxes, float32 [N, 4] as in structures.py."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from spp_det.structures import Boxes, Mask, Size

MOST = math.log(1000.0)  # of an offset of a side, so that no box overflows


def area(boxes: Boxes) -> np.ndarray:
    """Square pixels: float32 [N]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def intersection(a: Boxes, b: Boxes) -> np.ndarray:
    """Square pixels that each box of `a` [N, 4] shares with each of `b` [M, 4]: float32 [N, M]."""
    left_top = np.maximum(a[:, None, :2], b[None, :, :2])
    right_bottom = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(right_bottom - left_top, 0)
    return sides[..., 0] * sides[..., 1]


def iou(a: Boxes, b: Boxes) -> np.ndarray:
    """Intersection over union of each box of `a` [N, 4] with each of `b` [M, 4]: float32 [N, M] in [0, 1]."""
    shared = intersection(a, b)
    return shared / (area(a)[:, None] + area(b)[None, :] - shared)


def covered(a: Boxes, b: Boxes) -> np.ndarray:
    """The part of each box of `a` [N, 4] that lies in each of `b` [M, 4]: float32 [N, M] in [0, 1]."""
    return intersection(a, b) / area(a)[:, None]


def clip(boxes: Boxes, size: Size) -> Boxes:
    """Boxes cut to an image of `size`; one that lies outside becomes empty."""
    height, width = size
    limit = np.array([width, height, width, height], np.float32)
    return np.minimum(np.maximum(boxes, 0), limit)


def nonempty(boxes: Boxes) -> Mask:
    """Which boxes have x1 < x2 and y1 < y2: bool [N]."""
    return (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])


def flip(boxes: Boxes, width: int) -> Boxes:
    """The same boxes on the image mirrored left to right, `width` pixels wide."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def rescale(boxes: Boxes, from_size: Size, to_size: Size) -> Boxes:
    """The same boxes on the image resized from one size to another."""
    factor = np.array([to_size[1] / from_size[1], to_size[0] / from_size[0]] * 2, np.float32)
    return boxes * factor


def encode(boxes: Boxes, targets: Boxes) -> np.ndarray:
    """Where the targets lie, seen from the boxes: float32 [N, 4], (dx, dy, dw, dh).

    dx = (gx - px) / pw, dy likewise, dw = ln(gw / pw), dh likewise, with the centres and sides of box p and target g
    (R-CNN, tech report v5, appendix C).
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    target_sides = targets[:, 2:] - targets[:, :2]
    shift = (targets[:, :2] + target_sides / 2 - boxes[:, :2] - sides / 2) / sides
    return np.concatenate([shift, np.log(target_sides / sides)], axis=1).astype(np.float32)


def move(boxes: Boxes, offsets: np.ndarray, size: Size) -> Boxes:
    """`decode`, clipped to an image of `size`; a box that would leave it, or shrink to nothing, stays where it was."""
    height, width = size
    moved = np.asarray(boxes, np.float32).copy()
    _move(moved, np.asarray(offsets, np.float32), np.float32(height), np.float32(width))
    return moved


@njit(cache=True, nogil=True)
def _move(boxes, offsets, height, width):  # type: ignore[no-untyped-def]
    """Compiled, as numpy goes through some thousand boxes twenty times."""
    none, half, most = np.float32(0), np.float32(0.5), np.float32(MOST)
    for row in range(len(boxes)):
        x1, y1, x2, y2 = boxes[row]
        w, h = x2 - x1, y2 - y1
        x, y = x1 + w * half + offsets[row, 0] * w, y1 + h * half + offsets[row, 1] * h
        w, h = w * np.exp(min(offsets[row, 2], most)) * half, h * np.exp(min(offsets[row, 3], most)) * half
        left, right = min(max(x - w, none), width), min(max(x + w, none), width)
        top, bottom = min(max(y - h, none), height), min(max(y + h, none), height)
        if left < right and top < bottom:
            boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3] = left, top, right, bottom


def decode(boxes: Boxes, offsets: np.ndarray) -> Boxes:
    """Undo `encode`: the boxes moved by the offsets, float32 [N, 4]; not clipped.

    Offsets of the logarithms above ln(1000) count as that, so that no box overflows.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sides / 2 + offsets[:, :2] * sides
    new_sides = sides * np.exp(np.minimum(offsets[:, 2:], MOST))
    return np.concatenate([centres - new_sides / 2, centres + new_sides / 2], axis=1).astype(np.float32)
