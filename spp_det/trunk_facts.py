"""What a trunk states as data: how an image becomes its input, and where the cells of its map lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt

from spp_det.structures import Image, Size, check_image

if TYPE_CHECKING:  # a detector that was exported runs without torch
    from torch import Tensor

Pixels = npt.NDArray[np.float32]  # [H, W, 3]


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the input of a network: (x * maximum / 255 - mean) / std, per channel.

    mean, std: one per channel, in the network's own order of channels and range of values;
    channel_order: "rgb" or "bgr"; maximum: what a white pixel is before the mean is taken off, 1.0 or 255.0.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: Literal["rgb", "bgr"] = "rgb"
    maximum: float = 1.0

    def __call__(self, image: Image) -> Tensor:
        """The input of one image: uint8 [H, W, 3] RGB -> float32 [3, H, W], dense in memory as [H, W, 3]."""
        import torch

        return torch.from_numpy(self.array(image)).permute(2, 0, 1)

    def array(self, image: Image) -> Pixels:
        """The same as an array with the channels last: uint8 [H, W, 3] RGB -> float32 [H, W, 3]."""
        ordered = image if self.channel_order == "rgb" else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return np.asarray(cv2.LUT(ordered, _table(self)), np.float32)


@lru_cache(maxsize=16)
def _table(preprocessing: Preprocessing) -> Pixels:
    """What each of the 256 values becomes in each channel: float32 [1, 256, 3]. One look-up for three passes."""
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    values = np.arange(256, dtype=np.float32)[None, :, None] * np.float32(preprocessing.maximum / 255)
    return (values - mean) / std


class TrunkFacts:
    """The data that a trunk states.

    name; out_channels: of the map; stride, offset: cell (r, c) of the map of an image is centred at pixel (offset +
    stride * r, offset + stride * c) of that image, counted from 0, so that 0.0 is the centre of the first pixel;
    size_multiple: an input is padded at its right and bottom to sides of a multiple of this, with zeros after
    preprocessing; min_side: a shorter side is padded to this.
    """

    name: str
    out_channels: int
    stride: int
    offset: float
    preprocessing: Preprocessing
    size_multiple: int
    min_side: int

    def padded_size(self, size: Size) -> Size:
        """The size of the input for an image of `size`."""
        multiple = self.size_multiple
        height, width = (-(-max(side, self.min_side) // multiple) * multiple for side in size)
        return height, width

    def max_pixels(self) -> int | None:
        """How many pixels an image may have, where the memory of a pass bounds them; None for any."""
        return None

    def array(self, image: Image) -> Pixels:
        """The input for one image, already resized: uint8 [H, W, 3] RGB -> float32 [H', W', 3], preprocessed, padded.

        Raises ValueError for what is not an image.
        """
        pixels = self.preprocessing.array(check_image(image))
        height, width = self.padded_size((image.shape[0], image.shape[1]))
        if (height, width) == pixels.shape[:2]:
            return pixels
        padded = np.zeros((height, width, 3), np.float32)
        padded[: pixels.shape[0], : pixels.shape[1]] = pixels
        return padded
