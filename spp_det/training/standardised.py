"""Fully connected layers that learn on standardised vectors, and read them as they are afterwards."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spp_det.errors import SppDetError
from spp_det.networks import FcHead, LowRankLinear
from spp_det.training.source import PooledSource

IMAGES, WINDOWS = 150, 30  # that the mean and the deviation are taken from: images, and windows of each
LEAST = 0.1  # deviation, of that of all numbers: one that few windows have would become very large for those


class Standardised(nn.Module):
    """A head behind (x - mean) / deviation of each number of the pooled vector.

    Layers that start at random learn faster so: the vectors of EfficientNet-Lite0 have a norm of about 370, of which
    160 are the mean that all share, and gradient descent is slow in all directions when it must be careful in one.
    `fold` gives the head weights that do the same on vectors as they are.

    head: float32 [B, D] to logits; mean, deviation: float32 [D].
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, head: FcHead, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("mean", mean)
        least = LEAST * float(deviation.square().mean().sqrt())
        self.register_buffer("scale", 1 / deviation.clamp(min=max(least, 1e-12)))

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
    rng = np.random.default_rng(seed)
    vectors = []
    for index in np.sort(rng.permutation(len(source))[:IMAGES]):
        boxes = source.windows(int(index)).boxes
        chosen = boxes[np.sort(rng.permutation(len(boxes))[:WINDOWS])]
        if len(chosen):
            vectors.append(source.pooled(int(index), chosen))
    if not vectors:
        raise SppDetError("the training images have no window")
    drawn = np.concatenate(vectors)
    mean, deviation = drawn.mean(axis=0, dtype=np.float64), drawn.std(axis=0, dtype=np.float64)
    return Standardised(head, torch.from_numpy(mean).float(), torch.from_numpy(deviation).float())
