"""CaffeNet, the network of R-CNN: Caffe's AlexNet with its first two pools before the normalisation, not behind it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from spp_det.networks.inputs import INPUTS, choose_input
from spp_det.networks.local_weights import LocalWeights
from spp_det.networks.normalisation import AcrossChannels
from spp_det.networks.trunk import Trunk

CAFFENET = LocalWeights(
    "caffenet.safetensors",
    "the ImageNet weights of CaffeNet, which tools/convert_weights.py makes of R-CNN's or Caffe's .caffemodel",
)


def caffenet(weights: str = "default", input: str = "default") -> Trunk:
    """CaffeNet up to conv5 after its ReLU: 256 channels, stride 16; fc6 sees 6 x 6 cells. Raises WeightsError.

    The input has the means of the pixels taken off, where R-CNN's has a mean image.
    weights: "default" (data/weights/caffenet.safetensors), "random", or the path of a file with conv1.weight ..
    conv5.bias, fc6 and fc7 where it has them.
    """
    body = _layers()
    fc = CAFFENET.fill(body, 256, weights)
    return Trunk(
        body,
        name="caffenet",
        out_channels=256,
        stride=16,
        offset=17.0,  # conv1 (11, not padded) is centred at 5, the two 3-cell pools add 4 and 8
        min_side=23,
        preprocessing=choose_input(input, INPUTS["caffe"]),
        pretrained_fc=fc,
    )


def _layers() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, stride=4),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            norm1=AcrossChannels(5, alpha=1e-4),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            norm2=AcrossChannels(5, alpha=1e-4),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
            relu5=nn.ReLU(),
        )
    )
