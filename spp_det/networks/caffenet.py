"""AlexNet as Caffe has it, which is not torchvision's: as Krizhevsky et al. (2012) published it, and as R-CNN has it.

96 filters in conv1, which is not padded, two groups in conv2, conv4 and conv5, and normalisation across channels:
before the pools in AlexNet (bvlc_alexnet), behind them in CaffeNet, which is R-CNN's.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import nn

from spp_det.networks.inputs import INPUTS
from spp_det.networks.local_weights import LocalWeights
from spp_det.networks.normalisation import AcrossChannels
from spp_det.networks.trunk import Trunk

CAFFENET = LocalWeights(
    "caffenet.safetensors",
    "the ImageNet weights of CaffeNet, which tools/convert_weights.py makes of R-CNN's or Caffe's .caffemodel",
)
CAFFE_ALEXNET = LocalWeights(
    "caffe_alexnet.safetensors",
    "the ImageNet weights of AlexNet, which tools/convert_weights.py makes of Caffe's bvlc_alexnet.caffemodel",
)
GEOMETRY: dict[str, Any] = {
    "offset": 17.0,  # conv1 (11, not padded) is centred at 5, the two 3-cell pools add 4 and 8
    "min_side": 23,
    "preprocessing": INPUTS["caffe"],
}


def caffenet(weights: str = "default", input: str = "default") -> Trunk:
    """CaffeNet up to conv5 after its ReLU: 256 channels, stride 16; fc6 sees 6 x 6 cells. Raises WeightsError.

    The input has the means of the pixels taken off, where R-CNN's has a mean image.
    weights: "default" (data/weights/caffenet.safetensors), "random", or the path of a file with conv1.weight ..
    conv5.bias, fc6 and fc7 where it has them.
    """
    return CAFFENET.trunk(_layers(pool_first=True), "caffenet", weights=weights, input=input, **GEOMETRY)


def caffe_alexnet(weights: str = "default", input: str = "default") -> Trunk:
    """Caffe's AlexNet up to conv5 after its ReLU, otherwise as `caffenet`.

    Its default weights are data/weights/caffe_alexnet.safetensors.
    """
    return CAFFE_ALEXNET.trunk(_layers(pool_first=False), "caffe_alexnet", weights=weights, input=input, **GEOMETRY)


def _layers(pool_first: bool) -> nn.Sequential:
    """The layers, each of the first two pools before its normalisation or behind it."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, conv in enumerate((nn.Conv2d(3, 96, 11, stride=4), nn.Conv2d(96, 256, 5, padding=2, groups=2)), 1):
        layers[f"conv{number}"], layers[f"relu{number}"] = conv, nn.ReLU()
        between: list[tuple[str, nn.Module]] = [
            ("pool", nn.MaxPool2d(3, stride=2, ceil_mode=True)),
            ("norm", AcrossChannels(5, alpha=1e-4)),
        ]
        for kind, layer in between if pool_first else reversed(between):
            layers[f"{kind}{number}"] = layer
    for number, (inputs, outputs, groups) in enumerate([(256, 384, 1), (384, 384, 2), (384, 256, 2)], 3):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups)
        layers[f"relu{number}"] = nn.ReLU()
    return nn.Sequential(layers)
