"""What a trunk is: the convolutional layers of a network, with all that a detector must know of them stated as data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spp_det.errors import ConfigError
from spp_det.networks.convolution import pointwise_by_onednn, relu_by_cudnn
from spp_det.networks.live_input import live_crops, live_input, live_pixels
from spp_det.networks.weights import fill
from spp_det.structures import Image, Size
from spp_det.trunk_facts import Preprocessing, TrunkFacts


@dataclass(frozen=True, eq=False)
class PretrainedFc:
    """The first two fully connected layers of a pretrained classifier, which saw a map pooled to n x n bins a level.

    fc6_weight: float32 [D6, C * bins], its columns level-major, then channel, then bin row-major; fc6_bias: [D6];
    fc7_weight: [D7, D6]; fc7_bias: [D7]; levels: of its pyramid, in order, (6,) of one that saw 6 x 6 cells.
    """

    fc6_weight: Tensor
    fc6_bias: Tensor
    fc7_weight: Tensor
    fc7_bias: Tensor
    levels: tuple[int, ...]

    def tensors(self) -> dict[str, Tensor]:
        """The four tensors by name."""
        names = ("fc6_weight", "fc6_bias", "fc7_weight", "fc7_bias")
        return {name: getattr(self, name) for name in names}


class Trunk(nn.Module, TrunkFacts):
    """Convolutional layers that turn an image into a map, and their geometry. Only R-CNN ever tunes them.

    body: the layers, float32 [B, 3, H, W] -> [B, out_channels, h, w];
    size_multiple: strided layers with TensorFlow's SAME padding need it for their offset not to depend on the size;
    min_side: the least that gives a cell; the other facts are said in trunk_facts.py;
    pretrained_fc: the classifier's fc6 and fc7, where the weights have them.

    `to(torch.bfloat16)` makes the layers compute in that precision; what a call gives stays float32.
    memory_format: how the layers' values lie in memory, channels last unless it is set.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        name: str,
        out_channels: int,
        stride: int,
        offset: float,
        preprocessing: Preprocessing,
        size_multiple: int = 1,
        min_side: int = 1,
        pretrained_fc: PretrainedFc | None = None,
    ) -> None:
        super().__init__()
        self.body = relu_by_cudnn(pointwise_by_onednn(body)).to(memory_format=torch.channels_last)
        self.memory_format = torch.channels_last
        self.name = name
        self.out_channels = out_channels
        self.stride = stride
        self.offset = offset
        self.preprocessing = preprocessing
        self.size_multiple = size_multiple
        self.min_side = min_side
        self.pretrained_fc = pretrained_fc
        self._map_sizes: dict[Size, Size] = {}
        self._digest: str | None = None
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Nothing changes: a trunk stays in evaluation mode, whatever the network around it does."""
        return super().train(False)

    def learn_from(self, first_conv: int) -> None:
        """Let the layers from a convolution on take gradients, and no others.

        first_conv: counted from 1 in the order of the layers; 0: none learns. Raises ConfigError where there are fewer.
        """
        self.requires_grad_(False)
        count = 0
        for layer in self.body.modules():
            count += isinstance(layer, nn.Conv2d)
            if 0 < first_conv <= count:
                for weight in layer.parameters(recurse=False):
                    weight.requires_grad_(True)
        if first_conv > count:
            raise ConfigError(f"finetune.first_conv = {first_conv}: {self.name} has {count} convolutions")

    def state(self) -> dict[str, Tensor]:
        """The layers' tensors by name, copies, as safetensors stores them."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.body.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor], source: str | PathLike[str]) -> None:
        """Put `state()` back. Raises WeightsError, naming `source`, where a tensor is absent or of another shape."""
        fill(self.body, state, source)
        self._digest = None

    def tensor(self, image: Image) -> Tensor:
        """`array` with the channels first: float32 [3, H', W'], dense in memory as [H', W', 3]."""
        return torch.from_numpy(self.array(image)).permute(2, 0, 1)

    @torch.inference_mode()
    def maps(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The maps of inputs, arrays of float32, wherever the layers lie: [B, H', W', 3] -> [B, h, w, out_channels].

        The result is a view of the memory that torch gave it.
        """
        x = torch.from_numpy(inputs).permute(0, 3, 1, 2).to(self.device)
        return self._values(x).float().permute(0, 2, 3, 1).cpu().numpy()

    def live_pixels(self, image: Image) -> Image | Tensor:
        """An image, uint8 [H, W, 3], as `live_map` takes it, once for all sizes. Raises ValueError for another."""
        return live_pixels(self, image)

    @torch.inference_mode()
    def live_map(self, pixels: Image | Tensor, size: Size) -> Tensor:
        """The map of an image resized to `size`, in the layers' type and where they lie: [h, w, C].

        On a GPU the image is resized there, which differs by one of 255 levels for about one pixel of 500.
        """
        return self._values(live_input(self, pixels, size)[None])[0].permute(1, 2, 0)

    @torch.inference_mode()
    def live_crop_maps(self, warped: npt.NDArray[Any]) -> Tensor:
        """The maps of warped crops, likewise: [N] of `RCNNRegions.warped_type` -> [N, h, w, C]."""
        return self.compute(live_crops(self, warped)).permute(0, 2, 3, 1)

    def _values(self, x: Tensor) -> Tensor:
        """`compute` within bounded memory."""
        from spp_det.networks.strips import compute_in_strips  # it knows this file

        return compute_in_strips(self, x) if len(x) == 1 else self.compute(x)

    def max_pixels(self) -> int | None:
        """How many pixels an image may have for a pass within bounded memory; None for any."""
        from spp_det.networks.strips import pixels_within

        return pixels_within(self)

    @property
    def device(self) -> torch.device:
        """Where the layers lie; the CPU if they have no weights."""
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H', W'] of any type -> float32 [B, out_channels, h, w], channels last in memory."""
        return self.compute(x).to(torch.float32, memory_format=torch.channels_last)

    def compute(self, x: Tensor) -> Tensor:
        """The same in the layers' own type."""
        return self.body(x.to(self.dtype, memory_format=self.memory_format))

    @property
    def dtype(self) -> torch.dtype:
        """The type that the layers compute in."""
        return next((weight.dtype for weight in self.parameters()), torch.float32)

    def map_size(self, size: Size) -> Size:
        """The cells (h, w) of the map of an image of `size`, which is not padded yet."""
        padded = self.padded_size(size)
        if padded not in self._map_sizes:
            self._map_sizes[padded] = output_size(self.body, padded)
        return self._map_sizes[padded]

    def digest(self) -> str:
        """SHA-256 over the name, the stated data, and the names, shapes and bytes of all weights, in hexadecimal.

        Taken once: of the weights in float32, where it is asked for before `to(torch.bfloat16)`.
        """
        if self._digest is None:
            stated = (self.name, self.out_channels, self.stride, self.offset, self.size_multiple, self.min_side)
            tensors = dict(self.body.state_dict())
            if self.pretrained_fc is not None:
                tensors |= self.pretrained_fc.tensors()
            self._digest = _digest(f"{stated} {self.preprocessing}", tensors.items())
        return self._digest


def output_size(body: nn.Module, size: Size) -> Size:
    """The size of the map by the layers' own arithmetic, on tensors that have a shape and no values."""
    shapes = {name: torch.empty_like(value, device="meta") for name, value in body.state_dict().items()}
    dtype = next((value.dtype for value in shapes.values() if value.is_floating_point()), torch.float32)
    x = torch.empty(1, 3, *size, dtype=dtype, device="meta")
    height, width = torch.func.functional_call(body, shapes, x).shape[2:]
    return height, width


def _digest(text: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    sha = hashlib.sha256(text.encode())
    for name, tensor in tensors:
        sha.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        sha.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return sha.hexdigest()
