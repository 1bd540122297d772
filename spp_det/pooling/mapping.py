"""Where a window lies: at which scale it is looked at, and which cells of that scale's map are its own.

Two rules each, and the paper's is the default. Pixels are counted from 0 here: a box (x1, .., x2, ..) in continuous
pixels has X0 = x1 as its first pixel and X1 = x2 - 1 as its last; cell c of a map is centred on pixel
offset + stride * c of the scaled image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from spp_det.structures import Boxes, Size

Rule = Literal["paper", "released"]
Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

PAPER_SIDE = 224  # px: a window is looked at where it has about 224 x 224 pixels (section 4.1)
RELEASED_SIDE = 13 * 16  # px: sz_conv_standard * step_standard of the released ZF-5
RELEASED_SHRINK = 6.5  # px off each side of a window before it is rounded to cells; `offset` of the release


def choose_scales(
    boxes: Boxes, size: Size, scales: Sequence[int], rule: Rule = "paper", side: float | None = None
) -> Integers:
    """The scale at which each window is looked at: int64 [N], indices into `scales`.

    boxes: float32 [N, 4] on an image of `size`; scales: lengths in px of the image's short side, ascending: of two
    that are as good the first is taken; side: px, 224 for the paper's rule and 208 for the release's if None.

    "paper": the scale at which the window's number of pixels is closest to side * side (section 4.1; |area * f * f -
    side * side| is least, f = scale / short side). "released": the scale closest to round(side * short side /
    sqrt(area)), which is linear in the scale (SPP_net: spm_expected_scale.m:17-21).
    """
    _check_rule(rule)
    if len(scales) == 0 or min(scales) <= 0:
        raise ValueError(f"scales are positive, and at least one: not {tuple(scales)}")
    if len(scales) == 1:
        return np.zeros(len(boxes), np.int64)
    candidates, short = np.asarray(scales, np.float64), min(size)
    if rule == "paper":
        target = float(PAPER_SIDE if side is None else side) ** 2
        return _closest_area(_doubles(boxes), (candidates / short) ** 2, target)
    return _closest_scale(_doubles(boxes), candidates, float(RELEASED_SIDE if side is None else side) * short)


def window_cells(
    boxes: Boxes,
    size: Size,
    scaled_size: Size,
    map_size: Size,
    stride: float,
    offset: float,
    rule: Rule = "paper",
    shrink: float = RELEASED_SHRINK,
) -> Integers:
    """The cells of each window: int64 [N, 4], (x0, y0, x1, y1), both ends within the map, at least one cell.

    boxes: float32 [N, 4] on an image of `size` that was resized to `scaled_size`, whose map has `map_size` cells;
    stride, offset: of the trunk, in px of the scaled image; shrink: px, only for the rule "released".

    "paper" (v4, appendix A, with the "proper offset" that it asks for): the cells whose centres lie strictly between
    the window's first and last pixel, floor((X0 - offset) / stride) + 1 to ceil((X1 - offset) / stride) - 1. With
    offset 0 this is the paper's floor(x / S) + 1 to ceil(x / S) - 1. Its "response (x', y') is centred at (S x', S y')"
    holds, for layers padded by floor(k / 2), where pixels and cells are both counted from 0, so it is read so: a centre
    that is the first or last pixel itself is left out, and at offset 0 the whole image begins with cell 1. The paper is
    silent on a window without a centre: here it gets the cell whose centre is nearest to its own.

    "released" (SPP_net: spm_pool_caffe_mex.cpp:116-142): floor((X0 - offset + shrink) / stride + 0.5) to
    ceil((X1 - offset - shrink) / stride - 0.5), both their mean if they cross. Coordinates are scaled by
    (s - 1) / (S - 1) for short sides s of the scaled and S of the original image (spp_features_convX_to_poolX.m:44-45).
    """
    _check_rule(rule)
    if min(map_size) < 1:
        raise ValueError(f"a map of {map_size} has no cell")
    box, (height, width) = _doubles(boxes), map_size
    if rule == "paper":
        across, down = scaled_size[1] / size[1], scaled_size[0] / size[0]
        return _centres_within(box, across, down, float(stride), float(offset), width, height)
    short, scaled_short = min(size), min(scaled_size)
    # On an image one pixel wide the release divides by zero; there the plain ratio stands.
    ratio = (scaled_short - 1) / (short - 1) if short > 1 else float(scaled_short)
    return _rounded_inwards(box, ratio, float(stride), float(offset), float(shrink), width, height)


def _doubles(boxes: Boxes) -> Doubles:
    return np.ascontiguousarray(boxes, np.float64)


# Compiled, since numpy goes through some thousand windows once for each operation, which takes ten times as long.
@njit(cache=True, nogil=True, error_model="numpy")
def _closest_area(boxes, squares, target):  # type: ignore[no-untyped-def]
    """The index of the factor whose square, of `squares` [S], brings the area of each box closest to `target`."""
    found = np.empty(len(boxes), np.int64)
    for row in range(len(boxes)):
        area = (boxes[row, 2] - boxes[row, 0]) * (boxes[row, 3] - boxes[row, 1])
        found[row] = np.argmin(np.abs(area * squares - target))
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _closest_scale(boxes, scales, length):  # type: ignore[no-untyped-def]
    """The index of the scale that is closest to length / sqrt(area), rounded, for each box."""
    found = np.empty(len(boxes), np.int64)
    for row in range(len(boxes)):
        area = (boxes[row, 2] - boxes[row, 0]) * (boxes[row, 3] - boxes[row, 1])
        expected = np.floor(length / np.sqrt(area) + 0.5)  # MATLAB's round: halves go up
        found[row] = np.argmin(np.abs(scales - expected))
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _centres_within(boxes, across, down, stride, offset, width, height):  # type: ignore[no-untyped-def]
    cells = np.empty((len(boxes), 4), np.int64)
    for row in range(len(boxes)):
        for axis in range(2):
            factor, count = (down, height) if axis else (across, width)
            first, last = boxes[row, axis] * factor, boxes[row, axis + 2] * factor - 1
            left, right = np.floor((first - offset) / stride) + 1, np.ceil((last - offset) / stride) - 1
            if left > right:
                left = right = np.floor(((first + last) / 2 - offset) / stride + 0.5)
            cells[row, axis], cells[row, axis + 2] = _within(left, count), _within(right, count)
    return cells


@njit(cache=True, nogil=True, error_model="numpy")
def _rounded_inwards(boxes, ratio, stride, offset, shrink, width, height):  # type: ignore[no-untyped-def]
    cells = np.empty((len(boxes), 4), np.int64)
    for row in range(len(boxes)):
        for axis in range(2):
            count = height if axis else width
            first, last = boxes[row, axis] * ratio, (boxes[row, axis + 2] - 1) * ratio
            left = np.floor((first - offset + shrink) / stride + 0.5)
            right = np.ceil((last - offset - shrink) / stride - 0.5)
            if left > right:  # the release counts cells from 1, and divides as C does, towards zero
                left = right = np.trunc((left + 1 + right + 1) / 2) - 1
            cells[row, axis], cells[row, axis + 2] = _within(left, count), _within(right, count)
    return cells


@njit(cache=True, nogil=True)
def _within(cell, count):  # type: ignore[no-untyped-def]
    return min(max(cell, 0), count - 1)


def _check_rule(rule: str) -> None:
    if rule not in ("paper", "released"):
        raise ValueError(f"the rule is 'paper' or 'released', not {rule!r}")
