"""An image as a network takes it at once: in the type that the layers compute in, where they lie."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit, prange
from torch import Tensor

from spp_det.images import resize
from spp_det.structures import Image, Size, check_image
from spp_det.trunk_facts import Preprocessing

if TYPE_CHECKING:
    from spp_det.networks.trunk import Trunk


def live_pixels(trunk: Trunk, image: Image) -> Image | Tensor:
    """An image, uint8 [H, W, 3], for `live_input`: itself, or a copy on the layers' GPU; else raises ValueError."""
    image = check_image(image)
    return image if trunk.device.type == "cpu" else torch.from_numpy(image).to(trunk.device)


def live_input(trunk: Trunk, pixels: Image | Tensor, size: Size) -> Tensor:
    """`trunk.tensor` of an image resized to `size`, in the layers' type and where they lie: [3, H', W'], the same
    values rounded. pixels: from `live_pixels`.
    """
    preprocessing, padded = trunk.preprocessing, trunk.padded_size(size)
    if isinstance(pixels, Tensor):
        from spp_det.networks.triton_input import resized_input  # not on every machine

        table = _table_on_device(preprocessing, trunk.dtype, pixels.device)
        return resized_input(pixels, size, padded, table, preprocessing.channel_order == "bgr")
    found = by_table(preprocessing, resize(pixels, size), trunk.dtype)
    pad = (0, padded[1] - size[1], 0, padded[0] - size[0])
    return torch.nn.functional.pad(found, pad) if any(pad) else found


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


@cache  # a CUDA graph may still read one that was not used for long
def _table_on_device(preprocessing: Preprocessing, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.from_numpy(_table(preprocessing, dtype)).view(dtype).to(device)


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
