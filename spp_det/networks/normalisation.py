"""Local response normalisation as Caffe has it: across channels, and within one, which torch does not have.

Both are y = x * (1 + alpha * mean of x^2 around) ^ -0.75, in float32 whatever comes in. The power is taken by square
roots: these round correctly, so that the bytes do not depend on how a tensor is cut up among threads. Those of torch's
`pow`, and with it of its `LocalResponseNorm`, do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spp_det.networks.across_channels import normalised_cells


class WithinChannel(nn.Module):
    """The mean is over the size x size cells around one, of the same channel (Caffe's LRN layer with WITHIN_CHANNEL).

    Cells off the map count as zeros; the mean divides by size * size there too. size: odd.
    """

    def __init__(self, size: int, alpha: float) -> None:
        super().__init__()
        self.size, self.alpha = _odd(size), alpha

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W], of the same type."""
        values = x.float()
        mean = nn.functional.avg_pool2d(values.square(), self.size, stride=1, padding=self.size // 2)
        return _normalised(values, mean, self.alpha).to(x.dtype)


class AcrossChannels(nn.Module):
    """The mean is over `size` channels of the same cell, its own in the middle (Krizhevsky et al. 2012, section 3.3).

    Channels before the first and after the last count as zeros; the mean divides by size there too. size: odd.
    """

    def __init__(self, size: int, alpha: float) -> None:
        super().__init__()
        self.size, self.alpha = _odd(size), alpha

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W], of the same type."""
        if _compiled(x):
            return normalised_cells(x, self.size, self.alpha)
        values, channels, reach = x.float(), x.shape[1], self.size // 2
        squares = nn.functional.pad(values.square(), (0, 0, 0, 0, reach, reach))
        total = squares[:, :channels]
        for first in range(1, self.size):
            total = total + squares[:, first : first + channels]
        return _normalised(values, total / self.size, self.alpha).to(x.dtype)


def _compiled(x: Tensor) -> bool:
    """Whether the compiled cells may do it: a tensor of the CPU, with numbers in it, that no gradient comes back to."""
    plain = type(x) is Tensor and x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return plain and not (torch.is_grad_enabled() and x.requires_grad) and not torch.compiler.is_compiling()


def _normalised(values: Tensor, mean: Tensor, alpha: float) -> Tensor:
    root = (1 + alpha * mean).sqrt()
    return values / (root * root.sqrt())


def _odd(size: int) -> int:
    if size < 1 or size % 2 == 0:
        raise ValueError(f"what lies around one is an odd number wide, not {size}")
    return size
