"""The colour spaces of selective search (IJCV 2013, section 3.2), every channel spread over 0 .. 255."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from spp_det.structures import Image

Planes = npt.NDArray[np.uint8]  # [C, H, W], one plane a channel


def to_planes(image: Image, space: str) -> Planes:
    """The image in a colour space of `SPACES`: uint8 [C, H, W], contiguous, C = 3 or 1.

    Raises KeyError for another name.
    """
    return SPACES[space](image)


def _hsv(image: Image) -> Planes:
    """Hue over the full circle, saturation, value."""
    return _split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL))


def _lab(image: Image) -> Planes:
    """CIE L*a*b* of sRGB under D65: L * 255 / 100, a + 128, b + 128."""
    return _split(cv2.cvtColor(image, cv2.COLOR_RGB2Lab))


def _hue(image: Image) -> Planes:
    return _hsv(image)[:1]


def _intensity(image: Image) -> Planes:
    """0.299 R + 0.587 G + 0.114 B."""
    return _split(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def _rgi(image: Image) -> Planes:
    """R and G as shares of R + G + B (a third where the pixel is black), and the intensity."""
    total = np.maximum(image.sum(axis=2, dtype=np.float32), 1)
    shares = image[..., :2].astype(np.float32) / total[..., None]
    shares[(image == 0).all(axis=2)] = 1 / 3
    rounded = np.rint(shares * 255).astype(np.uint8)
    return np.concatenate([_split(rounded), _intensity(image)])


def _split(image: npt.NDArray[Any]) -> Planes:
    """[H, W, C] or [H, W] to [C, H, W]."""
    return np.stack(cv2.split(image))


SPACES = {"hsv": _hsv, "lab": _lab, "rgi": _rgi, "h": _hue, "intensity": _intensity}
