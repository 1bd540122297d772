"""fc6 and fc7 in fewer numbers: each matrix as the product of two thin ones (Girshick, Fast R-CNN, section 3.1).

Two ways to choose them, for a layer y = W x + b:

without samples   the truncated singular value decomposition: W = U S V', of which the r largest singular values stay;
                  first = S_r V_r', second = U_r. It is the closest matrix of its rank to W.
with samples      the principal components of what the layer says of real windows. Q_r are the r directions in which
                  its outputs, centred and weighed as L' (y - m), vary most; first = Q_r' L' W, second = L^-T Q_r, and
                  the bias makes up for what the others are on average, so that y becomes
                  m + L^-T Q_r Q_r' L' (W x + b - m). Of all matrices of their rank these keep most over the samples.

The weight is what an error costs: L L' = M, the mean over the samples of J' J, where J is the derivative of the scores
by the layer's outputs, so that to first order e' M e is the squared error of the scores that an error e leads to (the
Gauss-Newton matrix; a hundredth of its mean is added to its diagonal). Without `scores` L is 1.

The kept share of the energy is the sum of the r largest squared singular values over that of all: of W without
samples, of the centred and weighed outputs with samples.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spp_det.errors import ConfigError
from spp_det.networks.head import FcHead, LowRankLinear

Vectors = npt.NDArray[np.floating]
BLOCK = 1024  # samples that are multiplied at a time
WEIGHED = 1500  # samples that the weight is taken from: their derivatives cost as much as all the rest
DAMPING = 0.01


@dataclass(frozen=True)
class Samples:
    """What the compression shall keep, and over which windows.

    vectors: pooled, float16 or float32 [N, in_features], of some thousands of real windows.
    scores: float32 [K, dim("fc7")], the matrix that makes scores of fc7; None weighs all outputs of a layer alike.
    beside: float32 [in_features, M], other linear functions of the pooled vector that the code of fc6 shall tell too,
    such as a box regressor's; they are scaled to vary as much as fc6's weighed outputs.
    """

    vectors: Vectors
    scores: npt.NDArray[np.float32] | None = None
    beside: npt.NDArray[np.float32] | None = None


def compress_head(
    head: FcHead,
    rank: int | Sequence[int] | None = None,
    energy: float | None = None,
    samples: Samples | None = None,
) -> FcHead:
    """A copy of a head in float32 whose fc6 and fc7 are products of two thin matrices; fc8 stays.

    rank: of both layers, or (of fc6, of fc7), each at least 1 and no more than the layer's own; energy: the share in
    (0, 1] to keep, by the smallest rank that does; exactly one of the two is given. samples: see above.
    Raises ConfigError for a rank or an energy out of range and for a head that is compressed already, ValueError
    where rank and energy are both given, or neither.
    """
    check_ranks(head, rank, energy)
    rank6, rank7 = (rank, rank) if rank is None or isinstance(rank, int) else rank
    choices = _Choice(rank6, energy), _Choice(rank7, energy)
    small = copy.deepcopy(head).float().eval()
    assert isinstance(head.fc6, nn.Linear)
    assert isinstance(head.fc7, nn.Linear)
    with torch.no_grad():
        if samples is None:
            small.fc6 = _truncate(head.fc6, choices[0])
            small.fc7 = _truncate(head.fc7, choices[1])
        else:
            _project_head(small, choices, samples)
    return small


def check_ranks(head: FcHead, rank: int | Sequence[int] | None, energy: float | None) -> None:
    """Raises what `compress_head` raises for these arguments, at once."""
    if (rank is None) == (energy is None):
        raise ValueError("give a rank or an energy, and not both")
    if energy is not None and not 0 < energy <= 1:
        raise ConfigError(f"the energy to keep lies in 0 .. 1, not at {energy}")
    layers = {"fc6": head.fc6, "fc7": head.fc7}
    if is_factored(head):
        raise ConfigError("the fully connected layers are compressed already")
    ranks = (rank, rank) if rank is None or isinstance(rank, int) else rank
    for (name, fc), of_layer in zip(layers.items(), ranks, strict=True):
        full = min(fc.in_features, fc.out_features)
        if of_layer is not None and not 1 <= of_layer <= full:
            raise ConfigError(f"the rank of {name} lies in 1 .. {full}, not at {of_layer}")


def is_factored(head: FcHead) -> bool:
    """Whether fc6 or fc7 is a product of two thin matrices already."""
    return isinstance(head.fc6, LowRankLinear) or isinstance(head.fc7, LowRankLinear)


@dataclass(frozen=True)
class _Choice:
    """Which rank a layer gets."""

    rank: int | None
    energy: float | None

    def of(self, squares: Tensor) -> int:
        """The rank, by the squared singular values, largest first."""
        if self.rank is not None:
            return self.rank
        assert self.energy is not None
        kept = squares.double().clamp(min=0).cumsum(0)
        return min(len(squares), int((kept < self.energy * kept[-1] * (1 - 1e-12)).sum()) + 1)


def _truncate(fc: nn.Linear, choice: _Choice) -> LowRankLinear:
    """The truncated singular value decomposition of a layer's matrix."""
    left, values, right = torch.linalg.svd(fc.weight.float(), full_matrices=False)
    rank = choice.of(values.square())
    return factors(values[:rank, None] * right[:rank], left[:, :rank], fc.bias.float())


def _project_head(head: FcHead, choices: tuple[_Choice, _Choice], samples: Samples) -> None:
    """Both layers in place, fc7 by what it says of the compressed fc6."""
    vectors = torch.from_numpy(np.ascontiguousarray(samples.vectors))
    root6 = root7 = None
    if samples.scores is not None:
        root6, root7 = _roots(head, vectors[:: max(1, len(vectors) // WEIGHED)], torch.from_numpy(samples.scores))
    beside = None if samples.beside is None else torch.from_numpy(samples.beside)
    head.fc6 = _project(head.fc6, vectors, choices[0], root6, beside)
    between = torch.cat([head.layer(block.float(), "fc6") for block in vectors.split(BLOCK)])
    head.fc7 = _project(head.fc7, between, choices[1], root7)


def _roots(head: FcHead, vectors: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """L of fc6's outputs and of fc7's, each float32 [width, width], lower triangular."""
    assert isinstance(head.fc7, nn.Linear)
    gram6 = torch.zeros(head.fc6.out_features, head.fc6.out_features)
    gram7 = torch.zeros(head.fc7.out_features, head.fc7.out_features)
    for block in vectors.split(BLOCK // len(scores) + 1):
        fc6, fc7 = head.layers(block.float(), ("fc6", "fc7"))
        by_fc7 = scores * (fc7 > 0)[:, None]  # [B, K, width of fc7]
        by_fc6 = by_fc7 @ head.fc7.weight * (fc6 > 0)[:, None]  # [B, K, width of fc6]
        gram7.addmm_(by_fc7.flatten(0, 1).T, by_fc7.flatten(0, 1))
        gram6.addmm_(by_fc6.flatten(0, 1).T, by_fc6.flatten(0, 1))
    return _root(gram6 / len(vectors)), _root(gram7 / len(vectors))


def _root(gram: Tensor) -> Tensor:
    gram.diagonal().add_(DAMPING * gram.diagonal().mean().clamp(min=1e-30))
    return torch.linalg.cholesky(gram.double()).float()


def _project(
    fc: nn.Linear | LowRankLinear,
    inputs: Tensor,
    choice: _Choice,
    root: Tensor | None = None,
    beside: Tensor | None = None,
) -> LowRankLinear:
    """A layer's outputs over inputs [N, in_features], on their first principal components."""
    assert isinstance(fc, nn.Linear)
    weight, bias, width = fc.weight, fc.bias, fc.out_features
    root = torch.eye(width) if root is None else root
    outputs = torch.cat([nn.functional.linear(block.float(), weight) for block in inputs.split(BLOCK)])
    mean = outputs.mean(0)
    weighed, first = outputs @ root, root.T @ weight  # [N, width], [width, in_features]
    if beside is not None:
        others = torch.cat([block.float() @ beside for block in inputs.split(BLOCK)])
        scale = (weighed.var(0).sum() / others.var(0).sum().clamp(min=1e-30)).sqrt()
        weighed = torch.cat([weighed, others * scale], dim=1)
        first = torch.cat([first, beside.T * scale])
    centre = weighed.mean(0)
    centred = weighed - centre
    values, directions = torch.linalg.eigh((centred.T @ centred).double())  # ascending
    full = min(len(values), fc.in_features)
    chosen = directions.flip(1)[:, : choice.of(values.flip(0)[:full])].float()
    second = torch.linalg.solve_triangular(root.T, chosen[:width], upper=True)
    return factors(chosen.T @ first, second, bias + mean - second @ (chosen.T @ centre))


def factors(first: Tensor, second: Tensor, bias: Tensor) -> LowRankLinear:
    """The layer x -> second (first x) + bias, of matrices [r, in] and [out, r]."""
    layer = LowRankLinear(first.shape[1], second.shape[0], first.shape[0])
    layer.first.weight.copy_(first)
    layer.second.weight.copy_(second)
    layer.second.bias.copy_(bias)
    return layer
