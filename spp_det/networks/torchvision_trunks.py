"""AlexNet and VGG-16 as torchvision defines them, with its weights or a local file's."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from spp_det.networks.inputs import INPUTS, choose_input
from spp_det.networks.pretrained import pretrained_fc, randomise
from spp_det.networks.trunk import PretrainedFc, Trunk
from spp_det.networks.weights import download, fill, read_tensors


def alexnet(weights: str = "default", input: str = "default") -> Trunk:
    """AlexNet up to conv5 after its ReLU: 256 channels; fc6 sees 6 x 6 cells. Raises WeightsError.

    weights: "default" (torchvision's download), "random", or the path of a file with torchvision's names, of which
    the convolutions are enough.
    """
    import torchvision

    url = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url
    body, fc = _build(torchvision.models.alexnet, weights, url, ("classifier.1", "classifier.4"), 256, 6)
    return Trunk(
        body,
        name="alexnet",
        out_channels=256,
        stride=16,
        offset=15.0,  # conv1 (11, padded by 2) is centred at 3, the two 3-cell pools add 4 and 8
        min_side=31,
        preprocessing=choose_input(input, INPUTS["torchvision"]),
        pretrained_fc=fc,
    )


def vgg16(weights: str = "default", input: str = "default") -> Trunk:
    """VGG-16 up to conv5_3 after its ReLU: 512 channels; fc6 sees 7 x 7 cells. Raises WeightsError.

    weights: as for `alexnet`. Weights that come from Caffe or Keras want input "caffe".
    """
    import torchvision

    url = torchvision.models.VGG16_Weights.IMAGENET1K_V1.url
    body, fc = _build(torchvision.models.vgg16, weights, url, ("classifier.0", "classifier.3"), 512, 7)
    return Trunk(
        body,
        name="vgg16",
        out_channels=512,
        stride=16,
        offset=7.5,  # four 2-cell pools: 0.5 + 1 + 2 + 4
        min_side=16,
        preprocessing=choose_input(input, INPUTS["torchvision"]),
        pretrained_fc=fc,
    )


def _build(
    build: Callable[[], nn.Module], weights: str, url: str, fc: tuple[str, str], channels: int, side: int
) -> tuple[nn.Module, PretrainedFc | None]:
    """The convolutions without the last pool, and the classifier's first layers where the weights have them."""
    with torch.device("meta"):  # the classifier's millions of weights are never made
        features = build().get_submodule("features")
    assert isinstance(features, nn.Sequential)
    body = nn.Sequential(OrderedDict(features=features[:-1])).to_empty(device="cpu")  # torchvision's names stay
    if weights == "random":
        return randomise(body), None
    source, tensors = (url, download(url)) if weights == "default" else (weights, read_tensors(weights))
    fill(body, {name: value for name, value in tensors.items() if not name.startswith("classifier.")}, source)
    return body, pretrained_fc(tensors, *fc, channels, [(side,)], source)
