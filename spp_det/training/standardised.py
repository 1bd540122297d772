"""Fully connected layers that learn on standardised vectors, and read them as they are afterwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spp_det.networks import FcHead, LowRankLinear
from spp_det.training.moments import Moments
from spp_det.training.source import PooledSource


class Standardised(nn.Module):
    """A head behind (x - mean) / deviation of each number of the pooled vector.

    Layers that start at random learn faster so: the vectors of EfficientNet-Lite0 have a norm of about 370, of which
    160 are the mean that all share, and gradient descent is slow in all directions when it must be careful in one.
    `fold` gives the head weights that do the same on vectors as they are.

    head: float32 [B, D] to logits; mean, deviation: float32 [D], the deviation above 0.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: FcHead, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", mean)
        self.register_buffer("scale", 1 / deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32 [B, K + 1] of vectors [B, D]."""
        return self.head((x - self.mean) * self.scale)

    @torch.no_grad()
    def fold(self) -> FcHead:
        """The head, changed in place so that it takes vectors as they are."""
        fc = self.head.fc6
        first, last = (fc.first, fc.second) if isinstance(fc, LowRankLinear) else (fc, None)
        first.weight.mul_(self.scale)
        shift = first.weight @ self.mean
        if last is None:
            assert isinstance(first.bias, Tensor)
            first.bias.sub_(shift)
        else:
            last.bias.sub_(last.weight @ shift)
        return self.head


def standardise(head: FcHead, source: PooledSource, seed: int) -> Standardised:
    """A head behind the mean and the deviation of windows drawn by the seed. Raises SppDetError where there is none."""
    moments = Moments.draw(source, "pool5", seed)
    return Standardised(head, torch.from_numpy(moments.mean), torch.from_numpy(moments.deviation))
