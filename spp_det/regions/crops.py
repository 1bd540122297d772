"""Where R-CNN's warped crops lie: the part of the image that each shows, and where in the crop it is put."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spp_det.structures import Boxes, Size

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def crop_geometry(boxes: Boxes, size: Size, crop_size: int = 227, context: int = 16) -> tuple[Integers, Integers]:
    """The pixels that each crop shows, and the pixels of the crop where they go: two int64 [N, 4].

    boxes: float32 [N, 4] on an image of `size`; crop_size: px, both sides of a crop; context: px of the crop on each
    side of the window. Returned: (x1, y1, x2, y2) with x2, y2 one past the last pixel, first on the image, then on the
    crop; the rest of the crop lies outside the image.

    The window grows about its centre by crop_size / (crop_size - 2 * context) and is rounded to pixels; what is left
    of it inside the image is resized as the whole would be, without keeping its shape (R-CNN, mode "warp":
    rcnn_im_crop.m:25-92).
    """
    if not 0 <= 2 * context < crop_size:
        raise ValueError(f"a crop of {crop_size} px has no room for {context} px of context on each side")
    factor = crop_size / (crop_size - 2 * context)
    # The release counts pixels from 1, both ends included, and puts the centre of a window at x1 + width / 2.
    box = boxes.astype(np.float64)
    sides = box[:, 2:] - box[:, :2]
    centres = box[:, :2] + 1 + sides / 2
    first = _round(centres - sides / 2 * factor)
    last = _round(centres + sides / 2 * factor)
    limit = np.array([size[1], size[0]])
    seen_first, seen_last = np.clip(first, 1, limit), np.clip(last, 1, limit)
    scale = crop_size / (last - first + 1)
    start = np.minimum(_round((seen_first - first) * scale), crop_size - 1)
    length = np.maximum(_round((seen_last - seen_first + 1) * scale), 1)
    stop = np.minimum(start + length, crop_size)
    source = np.concatenate([seen_first - 1, seen_last], axis=1)
    return source.astype(np.int64), np.concatenate([start, stop], axis=1).astype(np.int64)


def _round(values: Doubles) -> Doubles:
    """MATLAB's round: halves go away from zero."""
    return np.copysign(np.floor(np.abs(values) + 0.5), values)
