"""R-CNN's warped crop of one window, in the 1-based inclusive coordinates of its release."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import cv2
import numpy as np


def crop_slowly(image: np.ndarray, box: Sequence[float], crop_size: int, context: int) -> tuple[np.ndarray, np.ndarray]:
    """The crop float64 [S, S, 3], zero outside the image, and where the image is: bool [S, S]."""
    x1, y1, x2, y2 = box[0] + 1, box[1] + 1, box[2], box[3]
    scale = crop_size / (crop_size - context * 2)
    columns = _axis(x1, x2, scale, image.shape[1], crop_size)
    rows = _axis(y1, y2, scale, image.shape[0], crop_size)
    visible = image[rows[0] - 1 : rows[1], columns[0] - 1 : columns[1]]
    resized = cv2.resize(visible, (columns[3], rows[3]), interpolation=cv2.INTER_LINEAR)
    crop, seen = np.zeros((crop_size, crop_size, 3)), np.zeros((crop_size, crop_size), bool)
    for y in range(rows[3]):
        for x in range(columns[3]):
            crop[rows[2] + y, columns[2] + x] = resized[y, x]
            seen[rows[2] + y, columns[2] + x] = True
    return crop, seen


def _axis(first: float, last: float, scale: float, side: int, crop_size: int) -> tuple[int, int, int, int]:
    """First and last pixel seen, counted from 1; pixels before them in the crop, and their number in it."""
    half = (last - first + 1) / 2
    centre = first + half
    begin, end = round_half_away(centre - half * scale), round_half_away(centre + half * scale)
    unclipped = end - begin + 1
    pad = max(0, 1 - begin)
    seen_first, seen_last = max(1, begin), min(side, end)
    length = round_half_away((seen_last - seen_first + 1) * crop_size / unclipped)
    pad = round_half_away(pad * crop_size / unclipped)
    return seen_first, seen_last, pad, min(length, crop_size - pad)


def round_half_away(value: float) -> int:
    """MATLAB's round."""
    return floor(value + 0.5) if value >= 0 else -floor(-value + 0.5)
