"""AlexNet as Krizhevsky et al. (2012) published it and Caffe distributes it (bvlc_alexnet), which is not torchvision's.

It has 96 filters in conv1, two groups in conv2, conv4 and conv5, normalisation across channels before the pools, and
no padding in conv1.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from spp_det.errors import WeightsError
from spp_det.networks.inputs import INPUTS, choose_input
from spp_det.networks.normalisation import AcrossChannels
from spp_det.networks.pretrained import pretrained_fc, randomise
from spp_det.networks.trunk import Trunk
from spp_det.networks.weights import fill, read_tensors


def caffe_alexnet(weights: str = "default", input: str = "default") -> Trunk:
    """Caffe's AlexNet up to conv5 after its ReLU: 256 channels; fc6 sees 6 x 6 cells.

    weights: "random", or the path of a file with conv1.weight .. conv5.bias, fc6 and fc7 where it has them. There is
    no default, since no package or torch hub distributes them. Raises WeightsError.
    """
    body, fc = _layers(), None
    if weights == "default":
        raise WeightsError("caffe_alexnet: has no weights to download: give the path of a file with conv1.weight ...")
    if weights == "random":
        randomise(body)
    else:
        tensors = read_tensors(weights)
        fill(body, {name: value for name, value in tensors.items() if not name.startswith("fc")}, weights)
        fc = pretrained_fc(tensors, "fc6", "fc7", 256, [(6,)], weights)
    return Trunk(
        body,
        name="caffe_alexnet",
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
            norm1=AcrossChannels(5, alpha=1e-4),
            pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
            relu2=nn.ReLU(),
            norm2=AcrossChannels(5, alpha=1e-4),
            pool2=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
            relu5=nn.ReLU(),
        )
    )
