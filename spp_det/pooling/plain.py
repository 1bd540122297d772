"""Spatial pyramid pooling as it is defined, one window and one level at a time: what the kernel is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import adaptive_max_pool2d

from spp_det.pooling.pyramid import PAPER_LEVELS, check_levels, vector_length


def pool_maps(maps: torch.Tensor, levels: Sequence[int] = PAPER_LEVELS) -> torch.Tensor:
    """The SPP layer of a network: whole maps [B, C, h, w] to vectors [B, C * bins], on any device, with gradients.

    The order is that of `pool_windows`: level-major, then channel, then bin row-major.
    """
    return torch.cat([adaptive_max_pool2d(maps, n).flatten(1) for n in check_levels(levels)], dim=1)


def pool_windows_plain(
    feature_map: torch.Tensor, windows: torch.Tensor, levels: Sequence[int] = PAPER_LEVELS
) -> torch.Tensor:
    """`pool_windows` by torch's adaptive pooling: float32 [C, h, w] and int64 [R, 4] to float32 [R, C * bins].

    Gradients flow through it, and it runs on any device.
    """
    levels = check_levels(levels)
    vectors = [
        pool_maps(feature_map[None, :, y0 : y1 + 1, x0 : x1 + 1], levels)[0] for x0, y0, x1, y1 in windows.tolist()
    ]
    if not vectors:
        return feature_map.new_zeros((0, vector_length(len(feature_map), levels)))
    return torch.stack(vectors)
