"""The two usual ways to present an image to a network of the ImageNet age."""

from __future__ import annotations

from spp_det.errors import ConfigError
from spp_det.networks.trunk import Preprocessing

INPUTS = {
    "torchvision": Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "caffe": Preprocessing((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), channel_order="bgr", maximum=255.0),
}


def choose_input(name: str, default: Preprocessing) -> Preprocessing:
    """The preprocessing of this name, or the trunk's own for "default". Raises ConfigError for another name."""
    if name == "default":
        return default
    if name not in INPUTS:
        raise ConfigError(f"the trunk's input is one of default, {', '.join(INPUTS)}, not {name!r}")
    return INPUTS[name]
