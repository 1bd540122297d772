"""ZF-5, the network of the SPP-net paper's detector, padded in each of the ways in which it has been used.

Zeiler and Fergus' "fast" network: 7 x 7 filters at stride 2, normalisation within channels before the pools, no groups.
The layers and their weights are the same in all; the padding, and so the offset and the size of the map, is not.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from spp_det.networks.local_weights import LocalWeights
from spp_det.networks.normalisation import WithinChannel
from spp_det.networks.trunk import Preprocessing, Trunk

# The constant mean of the paper's Pascal VOC experiments (appendix A), in the order of the release's channels.
MEAN_128 = Preprocessing((128.0, 128.0, 128.0), (1.0, 1.0, 1.0), channel_order="bgr", maximum=255.0)
# py-faster-rcnn's means of pixels; the "caffe" input has them to one digit less, of another set of images.
FASTER_RCNN = Preprocessing((102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), channel_order="bgr", maximum=255.0)

ZF5 = LocalWeights(
    "zf5.safetensors",
    "the ImageNet weights of ZF-5, which tools/convert_weights.py makes of the SPP_net release's .caffemodel",
)
MSRA_ZF = LocalWeights(
    "msra_zf.safetensors",
    "the ImageNet weights of MSRA's ZF, which tools/convert_weights.py makes of Faster R-CNN's .caffemodel",
)


def zf5(weights: str = "default", input: str = "default") -> Trunk:
    """ZF-5 as the paper's detector has it: all layers padded by floor(k / 2), which puts cell 0 on pixel 0 (app. A).

    256 channels, stride 16. weights: "default" (data/weights/zf5.safetensors), "random", or the path of a file with
    conv1.weight .. conv5.bias, fc6 and fc7 where it has them. Raises WeightsError.
    """
    return _zf5("zf5", _layers(3, 1, 2, 1), 0.0, 1, weights, input)


def zf5_table1(weights: str = "default", input: str = "default") -> Trunk:
    """ZF-5 as the paper's table 1 has it, padded for maps of 55, 27 and 13 cells of an image of 224 pixels.

    The table does not tell the padding: by 2 and 1 every window of these maps is whole. Weights as for `zf5`.
    """
    offset = 15.0  # conv1 is centred at 1, conv2 one cell of 4 px on; the two pools add 2 and 8
    return _zf5("zf5_table1", _layers(2, 0, 1, 0), offset, 21, weights, input)


def zf5_released(weights: str = "default", input: str = "default") -> Trunk:
    """ZF-5 as released (Zeiler_conv5.prototxt): conv1 padded by 1, conv2 and the pools not. Weights as for `zf5`."""
    offset = 20.0  # conv1 is centred at 2, conv2 two cells of 4 px on, the two pools add 2 and 8; 21 counted from 1
    return _zf5("zf5_released", _layers(1, 0, 0, 0), offset, 31, weights, input)


def msra_zf(weights: str = "default", input: str = "default") -> Trunk:
    """The ZF of Fast and Faster R-CNN, trained at MSRA: the layers of `zf5`, other means of pixels and weights.

    weights: as for `zf5`, but data/weights/msra_zf.safetensors by default; fc6 sees 6 x 6 cells.
    """
    body, pixels = _layers(3, 1, 2, 1), FASTER_RCNN
    return MSRA_ZF.trunk(body, "msra_zf", offset=0.0, min_side=1, preprocessing=pixels, weights=weights, input=input)


def _zf5(name: str, body: nn.Sequential, offset: float, min_side: int, weights: str, input: str) -> Trunk:
    return ZF5.trunk(body, name, offset=offset, min_side=min_side, preprocessing=MEAN_128, weights=weights, input=input)


def _layers(conv1: int, pool1: int, conv2: int, pool2: int) -> nn.Sequential:
    """The layers, padded by so much. The pools count a window that is cut by the border, as Caffe's do."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 7, stride=2, padding=conv1),
            relu1=nn.ReLU(),
            norm1=WithinChannel(3, alpha=5e-5),
            pool1=nn.MaxPool2d(3, stride=2, padding=pool1, ceil_mode=True),
            conv2=nn.Conv2d(96, 256, 5, stride=2, padding=conv2),
            relu2=nn.ReLU(),
            norm2=WithinChannel(3, alpha=5e-5),
            pool2=nn.MaxPool2d(3, stride=2, padding=pool2, ceil_mode=True),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(384, 384, 3, padding=1),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(384, 256, 3, padding=1),
            relu5=nn.ReLU(),
        )
    )
