"""Convnet*-5 of the SPP-net paper: Krizhevsky's network with its first two pools moved behind conv2 and conv3.

Table 1 gives filters, strides and maps. That there are no groups, and that the normalisation is Krizhevsky's (across
channels, as in Caffe's AlexNet), is our reading.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from spp_det.networks.local_weights import LocalWeights
from spp_det.networks.normalisation import AcrossChannels
from spp_det.networks.trunk import Trunk
from spp_det.networks.zf5 import MEAN_128

CONVNET5 = LocalWeights("convnet5.safetensors", "the weights of a Convnet*-5 of your own training, as none are public")


def convnet5(weights: str = "default", input: str = "default") -> Trunk:
    """Convnet*-5, each layer padded by floor(k / 2), which puts cell 0 on pixel 0 (appendix A).

    256 channels, stride 16. weights: "default" (data/weights/convnet5.safetensors), "random", or the path of a file
    with conv1.weight .. conv5.bias, fc6 and fc7 where it has them. Raises WeightsError.
    """
    return _trunk("convnet5", _layers(5, 1), 0.0, 1, weights, input)


def convnet5_table1(weights: str = "default", input: str = "default") -> Trunk:
    """Convnet*-5 padded for table 1's maps of 55, 27 and 13 cells of an image of 224 pixels. Weights as `convnet5`."""
    offset = 15.0  # conv1 (11, padded by 2) is centred at 3, the two pools add 4 and 8
    return _trunk("convnet5_table1", _layers(2, 0), offset, 31, weights, input)


def _layers(conv1: int, pools: int) -> nn.Sequential:
    """The layers, conv1 and the pools padded by so much; the pools leave out a window that is cut by the border."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, stride=4, padding=conv1),
            relu1=nn.ReLU(),
            norm1=AcrossChannels(5, alpha=1e-4),
            conv2=nn.Conv2d(96, 256, 5, padding=2),
            relu2=nn.ReLU(),
            norm2=AcrossChannels(5, alpha=1e-4),
            pool2=nn.MaxPool2d(3, stride=2, padding=pools),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(3, stride=2, padding=pools),
            conv4=nn.Conv2d(384, 384, 3, padding=1),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(384, 256, 3, padding=1),
            relu5=nn.ReLU(),
        )
    )


def _trunk(name: str, body: nn.Sequential, offset: float, min_side: int, weights: str, input: str) -> Trunk:
    return CONVNET5.trunk(
        body, name, offset=offset, min_side=min_side, preprocessing=MEAN_128, weights=weights, input=input
    )
