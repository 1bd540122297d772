"""The fully connected layers that turn a pooled vector into fc6, fc7 and class logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from os import PathLike
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spp_det.errors import ConfigError
from spp_det.networks.trunk import PretrainedFc
from spp_det.networks.weights import fill
from spp_det.threads import by_rows

Layer = Literal["pool5", "code6", "fc6", "fc7", "logits"]
LAYERS: tuple[Layer, ...] = ("pool5", "code6", "fc6", "fc7", "logits")


class LowRankLinear(nn.Module):
    """y = second(first(x)), with fewer numbers between the two than on either side: `rank`, the code of x.

    first: in_features to rank, without a bias; second: rank to out_features. In place of in * out products there are
    rank * (in + out) (Girshick, Fast R-CNN, section 3.1). compression.py says where the two come from.
    """

    first: nn.Linear
    second: nn.Linear

    def __init__(self, in_features: int, out_features: int, rank: int) -> None:
        super().__init__()
        self.first = nn.utils.skip_init(nn.Linear, in_features, rank, bias=False)
        self.second = nn.utils.skip_init(nn.Linear, rank, out_features)
        self.in_features, self.out_features, self.rank = in_features, out_features, rank

    def forward(self, x: Tensor) -> Tensor:
        """float32 [R, in_features] -> [R, out_features]."""
        return self.second(self.first(x))


class FcHead(nn.Module):
    """fc6, ReLU, dropout, fc7, ReLU, dropout, fc8: a vector [R, in_features] to logits [R, num_classes + 1].

    The last logit is the background's, where there is one. fc8 starts as in the paper, Gaussian of standard deviation
    0.01. fc6 and fc7 start after He et al. (2015), sqrt(2 / fan_in), so that the variance of the signal is kept
    whatever the pyramid and the width: for 16,000 inputs this is 0.011, the release's 0.01, but its 0.01 for all would
    halve the signal in an fc7 of 4,096 inputs and shrink it more in smaller heads. All biases start at 0, those of fc8
    at `fc8_bias`. gain: in place of sqrt(2).

    in_features: length of the pooled vector; hidden: widths of fc6 and fc7; num_classes: K, without background;
    dropout: probability in [0, 1); seed: of the initial weights, torch's own generator stays as it was.
    fc8_bias: 1 in the release. A softmax is the same for any, and so is what is learnt, but for rounding.
    background: whether there is a logit for it, which a classifier of whole images does without.

    rank: of fc6 and fc7, which then start as `LowRankLinear`s; compression.py makes such ones of layers that are
    trained. "code6" is what lies between the factors of fc6.
    `to(torch.bfloat16)` makes the layers compute in that precision; `numpy` takes and gives float32 all the same.
    """

    fc6: nn.Linear | LowRankLinear
    fc7: nn.Linear | LowRankLinear

    def __init__(
        self,
        in_features: int,
        hidden: tuple[int, int] = (4096, 4096),
        num_classes: int = 20,
        dropout: float = 0.5,
        seed: int = 0,
        fc8_bias: float = 0.0,
        background: bool = True,
        rank: tuple[int, int] | None = None,
        gain: float = math.sqrt(2),
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.repeatable = False  # whether `numpy` gives the same bits for any number of threads, which takes longer
        self.share: tuple[slice, int] | None = None  # these rows of so many; dropout draws for all, as one process does
        generator = torch.Generator().manual_seed(seed)
        ranks = (None, None) if rank is None else rank
        self.fc6, self.fc7 = (
            _fully_connected(n, m, r, gain, generator)
            for (n, m), r in zip(pairwise((in_features, *hidden)), ranks, strict=True)
        )
        self.fc8 = nn.utils.skip_init(nn.Linear, hidden[-1], num_classes + background)
        nn.init.normal_(self.fc8.weight, std=0.01, generator=generator)
        nn.init.constant_(self.fc8.bias, fc8_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32 [R, num_classes + 1] of vectors [R, in_features]; drops units while in training mode."""
        for fc in (self.fc6, self.fc7):
            x = self._drop(torch.relu(fc(x)))
        return self.fc8(x)

    def _drop(self, x: Tensor) -> Tensor:
        if self.share is None or not self.training or not self.dropout:
            return nn.functional.dropout(x, self.dropout, self.training)
        rows, batch = self.share
        return x * nn.functional.dropout(x.new_ones(batch, x.shape[1]), self.dropout)[rows]

    def layer(self, x: Tensor, name: str) -> Tensor:
        """The values of one layer, float32 [R, dim(name)], never with dropout; "pool5" is x itself.

        name: one of LAYERS. Raises ValueError for another, for "code6" where fc6 has no factors, and for vectors of
        another length than in_features.
        """
        return self.layers(x, (name,))[0]

    def layers(self, x: Tensor, names: Sequence[str]) -> list[Tensor]:
        """The values of several layers by one pass that goes no deeper than it must; see `layer`."""
        if x.ndim != 2 or x.shape[1] != self.fc6.in_features:
            raise ValueError(f"the head takes vectors [R, {self.fc6.in_features}], not {list(x.shape)}")
        deepest = max(self._depth(name) for name in names)
        values = {"pool5": x}
        if deepest >= 1 and isinstance(self.fc6, LowRankLinear):
            values["code6"] = self.fc6.first(x)
        if deepest >= 2:
            values["fc6"] = linear_relu(_last(self.fc6), values.get("code6", x))
        if deepest >= 3:
            inputs = self.fc7.first(values["fc6"]) if isinstance(self.fc7, LowRankLinear) else values["fc6"]
            values["fc7"] = linear_relu(_last(self.fc7), inputs)
        if deepest >= 4:
            values["logits"] = self.fc8(values["fc7"])
        return [values[name] for name in names]

    def dim(self, name: str) -> int:
        """The length of a layer's vector. Raises ValueError for a name that is no layer of this head."""
        code = self.fc6.rank if isinstance(self.fc6, LowRankLinear) else 0
        widths = (self.fc6.in_features, code, self.fc6.out_features, self.fc7.out_features, self.fc8.out_features)
        return widths[self._depth(name)]

    def numpy(self, x: npt.NDArray[np.float32] | Tensor, name: str) -> npt.NDArray[np.float32]:
        """`layer` from arrays to arrays: float32 [R, in_features] -> float32 [R, dim(name)], wherever the head lies."""
        return self.numpy_layers(x, (name,))[0]

    def numpy_layers(self, x: npt.NDArray[np.float32] | Tensor, names: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """`layers` from an array, or a tensor of any type, to arrays; "pool5" is x itself. See `repeatable`."""
        vectors = x if isinstance(x, Tensor) else torch.from_numpy(np.require(x, np.float32, ["C", "W"]))
        given = {"pool5": vectors}
        wanted = [name for name in names if name != "pool5"]
        if self.repeatable and wanted and self.fc8.weight.device.type == "cpu":
            widths = [self.dim(name) for name in wanted]
            values = by_rows(partial(self._side_by_side, vectors, wanted), len(vectors), sum(widths))
            given |= zip(wanted, torch.from_numpy(values).split(widths, dim=1), strict=True)
        elif wanted:
            weight = self.fc8.weight
            with torch.inference_mode():
                given |= zip(wanted, self.layers(vectors.to(weight.device, weight.dtype), wanted), strict=True)
        return [given[name].to("cpu", torch.float32).numpy() for name in names]

    def _side_by_side(self, vectors: Tensor, names: Sequence[str], rows: slice) -> Tensor:
        weight = self.fc8.weight
        return torch.cat([v.float() for v in self.layers(vectors[rows].to(weight.device, weight.dtype), names)], dim=1)

    def state(self) -> dict[str, Tensor]:
        """The weights by name, float32 copies, as safetensors stores them."""
        return {name: value.detach().to("cpu", torch.float32, copy=True) for name, value in self.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor], source: str | PathLike[str] = "the head's state") -> None:
        """Put `state()` back. Raises WeightsError, naming `source`, where a tensor is absent or of another shape."""
        fill(self, state, source)

    def _depth(self, name: str) -> int:
        layers = LAYERS if isinstance(self.fc6, LowRankLinear) else [name for name in LAYERS if name != "code6"]
        if name not in layers:
            raise ValueError(f"a layer is one of {', '.join(layers)}, not {name!r}")
        return LAYERS.index(name)


def _fully_connected(
    in_features: int, out_features: int, rank: int | None, gain: float, generator: torch.Generator
) -> nn.Linear | LowRankLinear:
    """A layer before a ReLU, of deviation gain / sqrt(fan_in); the first of two factors keeps the signal's variance."""
    if rank is None:
        last = fc = nn.utils.skip_init(nn.Linear, in_features, out_features)
    else:
        fc = LowRankLinear(in_features, out_features, rank)
        nn.init.kaiming_normal_(fc.first.weight, nonlinearity="linear", generator=generator)
        last = fc.second
    nn.init.normal_(last.weight, std=gain / math.sqrt(last.in_features), generator=generator)
    nn.init.zeros_(last.bias)
    return fc


def _last(fc: nn.Linear | LowRankLinear) -> nn.Linear:
    return fc.second if isinstance(fc, LowRankLinear) else fc


def linear_relu(fc: nn.Linear, x: Tensor) -> Tensor:
    """relu(fc(x)), [R, out_features]; on a CPU in bfloat16 by one call of oneDNN, with the same values.

    Apart, the ReLU of some hundred windows takes half as long as the product.
    """
    halves = x.dtype == fc.weight.dtype == torch.bfloat16  # under autocast the weights are float32
    fused = x.device.type == "cpu" and halves and not torch.is_grad_enabled()
    if fused and fc.bias is not None and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x, fc.weight, fc.bias, "relu", [], "")
    return torch.relu_(fc(x))


@torch.no_grad()
def fill_from_pretrained(head: FcHead, fc: PretrainedFc, channels: int, levels: Sequence[int]) -> None:
    """Start fc6 and fc7 from a classifier that saw a map pooled to the bins of its own levels.

    A pooled vector is level-major, then channel, then bin row-major, so the columns of each of the classifier's levels
    become those of the same level as they are; the columns of other levels start at zero, fc7 is copied.

    channels: of the map; levels: the pyramid's, in the order of the vector. Raises ConfigError where the pyramid lacks
    a level or the widths differ.
    """
    for n in fc.levels:
        if n not in levels:
            raise ConfigError(f"the pretrained fc6 sees {n} x {n} bins: the pyramid's levels {list(levels)} lack {n}")
    expected = (channels * sum(n * n for n in levels), fc.fc6_weight.shape[0], fc.fc7_weight.shape[0])
    found = (head.dim("pool5"), head.dim("fc6"), head.dim("fc7"))
    theirs, ours = _columns(channels, fc.levels), _columns(channels, levels)
    if found != expected or fc.fc6_weight.shape[1] != theirs[fc.levels[-1]].stop:
        raise ConfigError(f"a head of the widths {list(found)} cannot start from pretrained layers of {list(expected)}")
    assert isinstance(head.fc6, nn.Linear)
    assert isinstance(head.fc7, nn.Linear)
    head.fc6.weight.zero_()
    for n in fc.levels:
        head.fc6.weight[:, ours[n]] = fc.fc6_weight[:, theirs[n]]
    head.fc6.bias.copy_(fc.fc6_bias)
    head.fc7.weight.copy_(fc.fc7_weight)
    head.fc7.bias.copy_(fc.fc7_bias)


def _columns(channels: int, levels: Sequence[int]) -> dict[int, slice]:
    """Where the numbers of each level stand in a pooled vector."""
    ends = list(accumulate((channels * n * n for n in levels), initial=0))
    return {n: slice(*ends[index : index + 2]) for index, n in enumerate(levels)}
