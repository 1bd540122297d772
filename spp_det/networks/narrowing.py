"""Fewer units of fc6 and fc7: those that tell best what comes behind them.

Behind a thin layer (compression.py) thousands of units stand for some hundred numbers, and the next layer reads some
hundred again. A unit is computed, put through its ReLU and multiplied all the same. Here those stay by which a linear
function says best, over samples, what the next layer said of all, and the next layer is fitted to them.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spp_det.errors import ConfigError
from spp_det.networks.compression import BLOCK, Vectors, factors
from spp_det.networks.head import FcHead, LowRankLinear, linear_relu

RIDGE = 1e-3  # of the mean variance of the units
LIVE = 1e-6  # a unit's variance that earlier ones do not explain, as a share of its own


def narrow_head(
    head: FcHead, width: tuple[int, int], vectors: Vectors, scores: npt.NDArray[np.floating]
) -> tuple[FcHead, npt.NDArray[np.int64]]:
    """A copy of a thin head in float32 with fewer units, and which of fc7's they are, int64 [width of fc7].

    head: from `compress_head`; width: units of fc6 and of fc7 that stay, at most all; vectors: pooled, float16 or
    float32 [N, in_features]; scores: [N, K], which fc7's units are to tell.
    Raises ConfigError for a width that is not within 1 .. the layer's own, ValueError for a head without factors.
    """
    small = copy.deepcopy(head).float().eval()
    fc6, fc7, fc8 = small.fc6, small.fc7, small.fc8
    if not isinstance(fc6, LowRankLinear) or not isinstance(fc7, LowRankLinear):
        raise ValueError("only a head whose fc6 and fc7 are thin becomes narrower")
    check_width(head, width)
    with torch.no_grad():
        blocks = torch.from_numpy(np.ascontiguousarray(vectors)).split(BLOCK)
        outputs = torch.cat([small.layer(block.float(), "fc6") for block in blocks])
        codes = fc7.first(outputs)
        units = choose_units(outputs, codes, width[0])
        weight, bias = _fit(outputs[:, units], codes)
        small.fc6 = factors(fc6.first.weight, fc6.second.weight[units], fc6.second.bias[units])
        second = fc7.second
        small.fc7 = factors(weight, second.weight, second.bias + second.weight @ bias)
        outputs = linear_relu(small.fc7.second, outputs[:, units] @ weight.T)
        units = choose_units(outputs, torch.from_numpy(np.asarray(scores, np.float32)), width[1])
        last = small.fc7.second
        small.fc7 = factors(weight, last.weight[units], last.bias[units])
        small.fc8 = nn.utils.skip_init(nn.Linear, width[1], fc8.out_features)
        small.fc8.weight.copy_(fc8.weight[:, units])
        small.fc8.bias.copy_(fc8.bias)
    return small, units.numpy()


def check_width(head: FcHead, width: tuple[int, int]) -> None:
    """Raises what `narrow_head` raises for a width, at once."""
    for name, count in zip(("fc6", "fc7"), width, strict=True):
        full = getattr(head, name).out_features
        if not 1 <= count <= full:
            raise ConfigError(f"the width of {name} lies in 1 .. {full}, not at {count}")


def choose_units(outputs: Tensor, targets: Tensor, count: int) -> Tensor:
    """The columns of outputs [N, M] by which a linear function tells targets [N, T] best: int64 [count].

    One after the other, the one that takes most off the squared error that is left (orthogonal least squares: Chen,
    Billings and Luo 1989); of columns that tell the same the first. Where none tells anything more, the first ones.
    """
    centred, wanted = (each - each.mean(0) for each in (outputs, targets))
    gram, cross = (centred.T @ centred).double(), (centred.T @ wanted).double()
    left = own = gram.diagonal().clone()  # the variance that the chosen ones do not explain
    free = own > 0
    found = torch.zeros(len(gram), count, dtype=torch.float64)  # gram's Cholesky factor, a column for each choice
    chosen: list[int] = []
    while len(chosen) < count:
        able = free & (left > LIVE * own)
        gains = torch.where(able, cross.square().sum(1) / left.clamp(min=1e-300), -1.0)
        best = int(gains.argmax())
        if gains[best] <= 0:
            rest = [unit for unit in range(len(gram)) if unit not in set(chosen)]
            return torch.tensor(chosen + rest[: count - len(chosen)])
        column = gram[:, best] - found[:, : len(chosen)] @ found[best, : len(chosen)]
        column /= left[best].sqrt()
        cross = cross - column[:, None] * (cross[best] / left[best].sqrt())
        left = left - column.square()
        found[:, len(chosen)] = column
        free[best] = False
        chosen.append(best)
    return torch.tensor(chosen)


def _fit(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(weight [T, D], bias [T]) by least squares over rows [N, D] and [N, T], a little regularised."""
    mean, target = inputs.mean(0), targets.mean(0)
    centred = inputs - mean
    gram = (centred.T @ centred).double()
    gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp(min=1e-30))
    weight = torch.linalg.solve(gram, (centred.T @ (targets - target)).double()).float().T
    return weight, target - weight @ mean
