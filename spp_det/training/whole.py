"""R-CNN's fine-tuning: the convolutions and the fully connected layers together, on warped crops."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d

from spp_det.regions import RCNNRegions
from spp_det.regions.rcnn import Warped
from spp_det.regions.spp import blocks, cells_within
from spp_det.structures import Boxes, Image
from spp_det.team import LONE, Team
from spp_det.training.finetune import FinetuneSettings, Log, classify, tune
from spp_det.training.source import PooledSource, Progress, silent

PART = 16  # crops that one thread takes: what lies between the layers of a batch is in memory, part by part


class ImageSource(PooledSource, Protocol):
    """Windows of images that can be looked at themselves."""

    def image(self, index: int, boxes: Boxes, flipped: bool) -> tuple[Image, Boxes]:
        """Image `index`, uint8 [H, W, 3], and boxes of it, float32 [n, 4]; both mirrored where `flipped`."""


def finetune_whole(
    regions: RCNNRegions,
    source: ImageSource,
    first_conv: int,
    settings: FinetuneSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    team: Team = LONE,
) -> Log:
    """Tune the trunk from a convolution on, and the head, in place; see `Trunk.learn_from` and `tune`.

    The bytes are the same for any number of threads: each part of a batch has its own, and their sum has an order.
    """
    regions.trunk.to(team.device).learn_from(first_conv)
    regions.head.to(team.device)
    with _single_threads() as pool:
        log = tune(TunedWhole(regions, source, pool, team), source, settings, checkpoint, progress, team)
    regions.trunk.learn_from(0)
    return log


class TunedWhole:
    """A trunk and a head, which see warped crops."""

    def __init__(self, regions: RCNNRegions, source: ImageSource, pool: ThreadPoolExecutor, team: Team = LONE) -> None:
        self.regions = regions
        self.team = team
        self.source = source
        self.pool = pool
        self.module = nn.ModuleDict({"trunk": regions.trunk, "head": regions.head})
        self.head = team.wrap(regions.head)
        self.learning = [weight for weight in regions.trunk.parameters() if weight.requires_grad]

    def room(self, iterations: int, batch: int) -> Warped:
        """The crops as uint8: half the memory of the network's own input in float16, and exact."""
        return np.empty((iterations, batch), self.regions.warped_type)

    def read(
        self, index: int, boxes: Boxes, *, flipped: bool = False, scale_indices: npt.NDArray[np.int64] | None = None
    ) -> Warped:
        """Warped crops, [n]; scales mean nothing to them."""
        return self.regions.warp(*self.source.image(index, boxes, flipped))

    def backward(self, inputs: Warped, labels: Tensor, bfloat16: bool, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """See `Tuned`."""
        parts = list(blocks(len(inputs), PART))
        pooled = list(self.pool.map(lambda part: self._pooled(inputs[part], bfloat16), parts))
        vectors = torch.cat([part.detach() for part in pooled]).requires_grad_()
        logits, loss = classify(self.head, vectors, labels, bfloat16)
        (loss * weight).backward()
        if self.learning:
            assert vectors.grad is not None
            self._add_up(pooled, [vectors.grad[part] for part in parts])
        return logits, loss

    def _pooled(self, crops: Warped, bfloat16: bool) -> Tensor:
        """The pooled vectors of crops, float32 [n, D], through which gradients flow."""
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=bfloat16):
            maps = self.regions.trunk(self.regions.tensor(crops).to(self.team.device))
        return pool_whole(maps, self.regions)

    def _add_up(self, pooled: list[Tensor], gradients: list[Tensor]) -> None:
        """Put the sum of the parts' gradients into the trunk's weights."""
        pairs = zip(pooled, gradients, strict=True)
        found = self.pool.map(lambda pair: torch.autograd.grad(pair[0], self.learning, pair[1]), pairs)
        for weight, each in zip(self.learning, zip(*found, strict=True), strict=True):
            total = self.team.sum(torch.stack(each).sum(0)) / self.team.world
            weight.grad = torch.empty_like(weight).copy_(total)  # the optimizer wants equal strides


def pool_whole(maps: Tensor, regions: RCNNRegions) -> Tensor:
    """`RCNNRegions.pool` of whole maps [B, C, h, w] by torch's own pooling, for gradients: [B, D]."""
    side = cells_within(regions.crop_size, regions.trunk)
    seen = maps[:, :, :side, :side]
    return torch.cat([adaptive_max_pool2d(seen, n).flatten(1) for n in regions.levels], dim=1)


@contextmanager
def _single_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads, one a core, within each of which torch has no others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # for this thread, and those to come
    try:
        with ThreadPoolExecutor(before, "crops") as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
