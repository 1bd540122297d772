"""An image as a network takes it at once: in the type that the layers compute in, where they lie."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange
from torch import Tensor

from spp_det.structures import Image, check_image
from spp_det.trunk_facts import Preprocessing

if TYPE_CHECKING:
    from spp_det.networks.trunk import Trunk


def live_input(trunk: Trunk, image: Image) -> Tensor:
    """`trunk.tensor` in the layers' type and on their device: uint8 [H, W, 3] -> [3, H', W'], the same values rounded.

    Raises ValueError for what is not an image.
    """
    image, dtype = check_image(image), trunk.dtype
    if trunk.device.type == "cpu":
        pixels = by_table(trunk.preprocessing, image, dtype)
    else:
        pixels = by_arithmetic(trunk.preprocessing, torch.from_numpy(image).to(trunk.device), dtype)
    height, width = trunk.padded_size((image.shape[0], image.shape[1]))
    pad = (0, width - image.shape[1], 0, height - image.shape[0])
    return torch.nn.functional.pad(pixels, pad) if any(pad) else pixels


def live_crops(trunk: Trunk, warped: npt.NDArray[Any]) -> Tensor:
    """Warped crops as the layers take them: [N, 3, S, S] in their type, dense in memory as [N, S, S, 3], zero off the
    image. warped: [N] of `RCNNRegions.warped_type`.
    """
    height, width = trunk.padded_size(warped["pixels"].shape[1:3])
    crops = torch.zeros((len(warped), height, width, 3), dtype=trunk.dtype).permute(0, 3, 1, 2)
    places = warped["place"].tolist()
    for crop, pixels, (left, top, right, bottom) in zip(crops, warped["pixels"], places, strict=True):
        crop[:, top:bottom, left:right] = by_table(trunk.preprocessing, pixels[top:bottom, left:right], trunk.dtype)
    return crops.to(trunk.device)


def by_table(preprocessing: Preprocessing, image: Image, dtype: torch.dtype) -> Tensor:
    """uint8 [H, W, 3] RGB -> [3, H, W], dense in memory as [H, W, 3]: one look-up for three passes and a conversion."""
    table = _table(preprocessing, dtype)
    out = np.empty(image.shape, table.dtype)
    columns = (0, 1, 2) if preprocessing.channel_order == "rgb" else (2, 1, 0)
    _look_up(image, columns, table[0], table[1], table[2], out)
    return torch.from_numpy(out).view(dtype).permute(2, 0, 1)


@lru_cache(maxsize=16)
def _table(preprocessing: Preprocessing, dtype: torch.dtype) -> npt.NDArray[Any]:
    """What each of the 256 values becomes in each channel: float32 [3, 256], or another type's bits as int16."""
    values = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    in_order = Preprocessing(preprocessing.mean, preprocessing.std, "rgb", preprocessing.maximum)
    found = torch.from_numpy(np.ascontiguousarray(in_order.array(values)[0].T)).to(dtype)
    return (found if dtype == torch.float32 else found.view(torch.int16)).numpy()


@njit(cache=True, nogil=True, parallel=True)
def _look_up(image, columns, first, second, third, out):  # type: ignore[no-untyped-def]
    """out[y, x] = first, second and third [256] at three columns of image[y, x]; OpenCV's takes twice as long."""
    i, j, k = columns
    for y in prange(len(image)):
        row, target = image[y], out[y]
        for x in range(len(row)):
            target[x, 0] = first[row[x, i]]
            target[x, 1] = second[row[x, j]]
            target[x, 2] = third[row[x, k]]


def by_arithmetic(preprocessing: Preprocessing, pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """The same of a tensor, where it lies: a GPU has it sooner than a CPU its look-up."""
    ordered = pixels if preprocessing.channel_order == "rgb" else pixels.flip(2)
    mean, std = (torch.tensor(each, device=pixels.device) for each in (preprocessing.mean, preprocessing.std))
    return ordered.float().mul(preprocessing.maximum / 255).sub(mean).div(std).to(dtype).permute(2, 0, 1)
