"""Overfeat-5 and Overfeat-7 of the SPP-net paper: wide maps at stride 12, with five and seven convolutions.

Table 1 gives filters, strides and maps, and a normalisation behind the first pool. That it is within channels, as in
the released ZF-5, is our reading.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from spp_det.networks.local_weights import LocalWeights
from spp_det.networks.normalisation import WithinChannel
from spp_det.networks.trunk import Trunk
from spp_det.networks.zf5 import MEAN_128


def overfeat5(weights: str = "default", input: str = "default") -> Trunk:
    """Overfeat-5, each layer padded by floor(k / 2) (appendix A): 512 channels, stride 12.

    The second pool is 2 wide, so that this puts cell 0 not on pixel 0 but 3 px before it.
    weights: "default" (data/weights/overfeat5.safetensors), "random", or the path of a file with conv1.weight ..
    conv5.bias, fc6 and fc7 where it has them. Raises WeightsError.
    """
    return _padded(5, weights, input)


def overfeat5_table1(weights: str = "default", input: str = "default") -> Trunk:
    """Overfeat-5 padded for table 1's maps of 36 and 18 cells of an image of 224 pixels. Weights as `overfeat5`."""
    return _table1(5, weights, input)


def overfeat7(weights: str = "default", input: str = "default") -> Trunk:
    """Overfeat-7: `overfeat5` with conv6 and conv7, its weights in data/weights/overfeat7.safetensors."""
    return _padded(7, weights, input)


def overfeat7_table1(weights: str = "default", input: str = "default") -> Trunk:
    """Overfeat-7 padded for table 1's maps of 36 and 18 cells of an image of 224 pixels. Weights as `overfeat7`."""
    return _table1(7, weights, input)


def _padded(depth: int, weights: str, input: str) -> Trunk:
    offset = -3.0  # the second pool (2, padded by 1) is centred half a cell of 6 px before its first cell
    return _trunk(f"overfeat{depth}", depth, _layers(depth, 3, 1, 1), offset, 1, weights, input)


def _table1(depth: int, weights: str, input: str) -> Trunk:
    offset = 8.0  # conv1 (7, not padded) is centred at 3, the pools add 2 and 3
    return _trunk(f"overfeat{depth}_table1", depth, _layers(depth, 0, 0, 0), offset, 17, weights, input)


def _layers(depth: int, conv1: int, pool1: int, pool2: int) -> nn.Sequential:
    """The layers, padded by so much. The pools leave out a window that the border cuts: only so are there 36 cells."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 96, 7, stride=2, padding=conv1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=3, padding=pool1),
        norm1=WithinChannel(3, alpha=5e-5),
        conv2=nn.Conv2d(96, 256, 5, padding=2),
        relu2=nn.ReLU(),
        pool2=nn.MaxPool2d(2, stride=2, padding=pool2),
    )
    for number in range(3, depth + 1):
        layers[f"conv{number}"] = nn.Conv2d(256 if number == 3 else 512, 512, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
    return nn.Sequential(layers)


def _trunk(name: str, depth: int, body: nn.Sequential, offset: float, min_side: int, weights: str, input: str) -> Trunk:
    network = f"overfeat{depth}"
    origin = f"the weights of an Overfeat-{depth} of your own training, as none are public"
    return LocalWeights(f"{network}.safetensors", origin).trunk(
        body,
        name,
        offset=offset,
        min_side=min_side,
        preprocessing=MEAN_128,
        weights=weights,
        input=input,
        channels=512,
        stride=12,
    )
