"""The fully connected layers that turn a pooled vector into fc6, fc7 and class logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spp_det.errors import ConfigError
from spp_det.networks.trunk import PretrainedFc
from spp_det.networks.weights import fill

Layer = Literal["pool5", "fc6", "fc7", "logits"]
LAYERS: tuple[Layer, ...] = ("pool5", "fc6", "fc7", "logits")


class FcHead(nn.Module):
    """fc6, ReLU, dropout, fc7, ReLU, dropout, fc8: a vector [R, in_features] to logits [R, num_classes + 1].

    The last logit is the background's. fc8 starts as in the paper, Gaussian of standard deviation 0.01. fc6 and fc7
    start after He et al. (2015), sqrt(2 / fan_in), so that the variance of the signal is kept whatever the pyramid and
    the width: for 16,000 inputs this is 0.011, the release's 0.01, but its 0.01 for all would halve the signal in an
    fc7 of 4,096 inputs and shrink it more in smaller heads. All biases start at 0.

    in_features: length of the pooled vector; hidden: widths of fc6 and fc7; num_classes: K, without background;
    dropout: probability in [0, 1); seed: of the initial weights, torch's own generator stays as it was.
    """

    def __init__(
        self,
        in_features: int,
        hidden: tuple[int, int] = (4096, 4096),
        num_classes: int = 20,
        dropout: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc6 = nn.utils.skip_init(nn.Linear, in_features, hidden[0])
        self.fc7 = nn.utils.skip_init(nn.Linear, hidden[0], hidden[1])
        self.fc8 = nn.utils.skip_init(nn.Linear, hidden[1], num_classes + 1)
        generator = torch.Generator().manual_seed(seed)
        for fc in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(fc.weight, nonlinearity="relu", generator=generator)
        nn.init.normal_(self.fc8.weight, std=0.01, generator=generator)
        for fc in (self.fc6, self.fc7, self.fc8):
            nn.init.zeros_(fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits float32 [R, num_classes + 1] of vectors [R, in_features]; drops units while in training mode."""
        for fc in (self.fc6, self.fc7):
            x = nn.functional.dropout(torch.relu(fc(x)), self.dropout, self.training)
        return self.fc8(x)

    def layer(self, x: Tensor, name: str) -> Tensor:
        """The values of one layer, float32 [R, dim(name)], never with dropout; "pool5" is x itself.

        name: one of LAYERS. Raises ValueError for another, and for vectors of another length than in_features.
        """
        if x.ndim != 2 or x.shape[1] != self.fc6.in_features:
            raise ValueError(f"the head takes vectors [R, {self.fc6.in_features}], not {list(x.shape)}")
        depth = _depth(name)
        if depth >= 1:
            x = torch.relu(self.fc6(x))
        if depth >= 2:
            x = torch.relu(self.fc7(x))
        return self.fc8(x) if depth == 3 else x

    def dim(self, name: str) -> int:
        """The length of a layer's vector. Raises ValueError for a name that is not in LAYERS."""
        widths = (self.fc6.in_features, self.fc6.out_features, self.fc7.out_features, self.fc8.out_features)
        return widths[_depth(name)]

    @torch.inference_mode()
    def numpy(self, x: npt.NDArray[np.float32], name: str) -> npt.NDArray[np.float32]:
        """`layer` from arrays to arrays: float32 [R, in_features] -> float32 [R, dim(name)], wherever the head lies."""
        vectors = torch.from_numpy(np.require(x, np.float32, ["C", "W"]))
        return self.layer(vectors.to(self.fc6.weight.device), name).cpu().numpy()

    def state(self) -> dict[str, Tensor]:
        """The weights by name, copied, as safetensors stores them."""
        return {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor], source: str | PathLike[str] = "the head's state") -> None:
        """Put `state()` back. Raises WeightsError, naming `source`, where a tensor is absent or of another shape."""
        fill(self, state, source)


def _depth(name: str) -> int:
    if name not in LAYERS:
        raise ValueError(f"a layer is one of {', '.join(LAYERS)}, not {name!r}")
    return LAYERS.index(name)


@torch.no_grad()
def fill_from_pretrained(head: FcHead, fc: PretrainedFc, channels: int, levels: Sequence[int]) -> None:
    """Start fc6 and fc7 from a classifier that saw a map of side x side cells.

    A pooled vector is level-major, then channel, then bin row-major, so the classifier's fc6 becomes the columns of
    the level of `side` x `side` bins as it is; the columns of the other levels start at zero, fc7 is copied.

    channels: of the map; levels: the pyramid's, in the order of the vector. Raises ConfigError where the pyramid has
    no such level or the widths differ.
    """
    if fc.side not in levels:
        raise ConfigError(
            f"the pretrained fc6 sees {fc.side} x {fc.side} bins: the pyramid's levels {list(levels)} lack {fc.side}"
        )
    expected = (channels * sum(n * n for n in levels), fc.fc6_weight.shape[0], fc.fc7_weight.shape[0])
    found = (head.dim("pool5"), head.dim("fc6"), head.dim("fc7"))
    if found != expected or fc.fc6_weight.shape[1] != channels * fc.side**2:
        raise ConfigError(f"a head of the widths {list(found)} cannot start from pretrained layers of {list(expected)}")
    start = channels * sum(n * n for n in levels[: levels.index(fc.side)])
    head.fc6.weight.zero_()
    head.fc6.weight[:, start : start + fc.fc6_weight.shape[1]] = fc.fc6_weight
    head.fc6.bias.copy_(fc.fc6_bias)
    head.fc7.weight.copy_(fc.fc7_weight)
    head.fc7.bias.copy_(fc.fc7_bias)
