"""What the trunks share: taking fc6 and fc7 out of a classifier's weights, and random weights."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from torch import nn

from spp_det.errors import WeightsError
from spp_det.networks.trunk import PretrainedFc
from spp_det.networks.weights import Tensors, seeded, take


def pretrained_fc(
    tensors: Tensors,
    fc6: str,
    fc7: str,
    channels: int,
    pyramids: Sequence[tuple[int, ...]],
    source: str | PathLike[str],
) -> PretrainedFc | None:
    """The layers `fc6` and `fc7` of a file, or None where it has neither.

    channels: of the map; pyramids: the levels that fc6 may see it by, told apart by the number of its columns.
    Raises WeightsError where one lacks or their shapes do not fit.
    """
    if not any(name.startswith((f"{fc6}.", f"{fc7}.")) for name in tensors):
        return None
    for name in (f"{fc6}.weight", f"{fc7}.weight"):
        if name not in tensors or tensors[name].ndim != 2:
            raise WeightsError(f"{source}: has no matrix {name}, though it has fully connected layers")
    width6, width7 = len(tensors[f"{fc6}.weight"]), len(tensors[f"{fc7}.weight"])
    lengths = {channels * sum(n * n for n in levels): levels for levels in pyramids}
    columns = tensors[f"{fc6}.weight"].shape[1]
    length = columns if columns in lengths else next(iter(lengths))
    return PretrainedFc(
        fc6_weight=take(tensors, f"{fc6}.weight", (width6, length), source),
        fc6_bias=take(tensors, f"{fc6}.bias", (width6,), source),
        fc7_weight=take(tensors, f"{fc7}.weight", (width7, width6), source),
        fc7_bias=take(tensors, f"{fc7}.bias", (width7,), source),
        levels=lengths[length],
    )


def randomise(body: nn.Module, seed: int = 0) -> nn.Module:
    """The body, its convolutions given seeded weights after He et al. (2015) and biases of zero."""

    def init() -> nn.Module:
        for conv in body.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                if conv.bias is not None:
                    nn.init.zeros_(conv.bias)
        return body

    return seeded(init, seed)
