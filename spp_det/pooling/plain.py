"""Spatial pyramid pooling as it is defined, one window and one level at a time: what the kernel is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import adaptive_max_pool2d

from spp_det.pooling.pyramid import PAPER_LEVELS, check_levels, vector_length


def pool_windows_plain(
    feature_map: torch.Tensor, windows: torch.Tensor, levels: Sequence[int] = PAPER_LEVELS
) -> torch.Tensor:
    """`pool_windows` by torch's adaptive pooling: float32 [C, h, w] and int64 [R, 4] to float32 [R, C * bins].

    Gradients flow through it, and it runs on any device.
    """
    levels = check_levels(levels)
    vectors = [
        torch.cat([adaptive_max_pool2d(feature_map[:, y0 : y1 + 1, x0 : x1 + 1], n).flatten() for n in levels])
        for x0, y0, x1, y1 in windows.tolist()
    ]
    if not vectors:
        return feature_map.new_zeros((0, vector_length(len(feature_map), levels)))
    return torch.stack(vectors)
