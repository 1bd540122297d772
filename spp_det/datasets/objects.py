"""From boxes as data sets write them to a Target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spp_det.boxes import clip
from spp_det.structures import Boxes, Size, Target, empty_boxes

SLACK = 1.0  # px that a box may reach beyond its image, by rounding, and that are cut off


def fit_box(corners: Sequence[float], size: Size) -> Boxes:
    """A box (x1, y1, x2, y2) cut to an image of `size`: float32 [4].

    Raises ValueError, whose text says what is wrong, for numbers that are not finite, a box that is empty or has its
    corners swapped, or one that lies more than SLACK outside.
    """
    x1, y1, x2, y2 = corners
    height, width = size
    if not np.isfinite(corners).all():
        raise ValueError("has a coordinate that is not finite")
    if x1 >= x2 or y1 >= y2:
        raise ValueError("is empty or has its corners swapped")
    if min(x1, y1) < -SLACK or x2 > width + SLACK or y2 > height + SLACK:
        raise ValueError(f"lies outside its image of {width} x {height} px")
    box = clip(np.array([corners], np.float32), size)[0]
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("is empty once it is cut to its image")
    return box


def make_target(boxes: Sequence[Boxes], labels: Sequence[int], difficult: Sequence[bool]) -> Target:
    """A Target of single boxes, float32 [4] each, maybe none."""
    stacked = np.stack(boxes) if boxes else empty_boxes()
    return Target(stacked, np.array(labels, np.int64), np.array(difficult, np.bool_))
