"""The trunks that come with the package, and how a configuration names one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from spp_det.errors import ConfigError
from spp_det.networks.caffenet import caffe_alexnet, caffenet
from spp_det.networks.convnet5 import convnet5, convnet5_table1
from spp_det.networks.lite0 import lite0, lite0_expansion
from spp_det.networks.overfeat import overfeat5, overfeat5_table1, overfeat7, overfeat7_table1
from spp_det.networks.timm_trunk import timm_trunk
from spp_det.networks.torchvision_trunks import alexnet, vgg16
from spp_det.networks.trunk import Trunk
from spp_det.networks.zf5 import msra_zf, zf5, zf5_released, zf5_table1

TRUNKS: dict[str, Callable[..., Trunk]] = {
    "efficientnet_lite0": lite0,
    "efficientnet_lite0_expansion": lite0_expansion,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "caffe_alexnet": caffe_alexnet,
    "caffenet": caffenet,
    "zf5": zf5,
    "zf5_table1": zf5_table1,
    "zf5_released": zf5_released,
    "msra_zf": msra_zf,
    "convnet5": convnet5,
    "convnet5_table1": convnet5_table1,
    "overfeat5": overfeat5,
    "overfeat5_table1": overfeat5_table1,
    "overfeat7": overfeat7,
    "overfeat7_table1": overfeat7_table1,
}


def build_trunk(name: str, weights: str = "default", input: str = "default") -> Trunk:
    """A trunk of a name, with its weights.

    name: a key of TRUNKS, "timm:NAME", or "package.module:Name", something of the user's own that is called with
    (weights, input) and returns a Trunk;
    weights: "default" (what the trunk itself names: a package or a download), "random" (seeded, for timing and tests),
    or the path of a .npz, .safetensors, .pth or .pt file;
    input: "default" (what the weights were trained with), "torchvision" or "caffe".
    Raises ConfigError for an unknown name or input, WeightsError for weights that are missing, broken or do not fit.
    """
    if name in TRUNKS:
        return TRUNKS[name](weights, input)
    module, _, attribute = name.partition(":")
    if module == "timm" and attribute:
        return timm_trunk(attribute, weights, input)
    if module and attribute:
        return _own(name, module, attribute, weights, input)
    raise ConfigError(f"unknown trunk {name!r}: choose {', '.join(TRUNKS)}, timm:NAME or package.module:Name")


def _own(name: str, module: str, attribute: str, weights: str, input: str) -> Trunk:
    try:
        build = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as fault:
        if fault.name is None or not f"{module}.".startswith(f"{fault.name}."):
            raise  # a module that theirs imports is what is missing
        raise ConfigError(f"trunk {name!r}: there is no module {module}") from None
    except AttributeError:
        raise ConfigError(f"trunk {name!r}: module {module} has no {attribute}") from None
    trunk = build(weights, input)
    if not isinstance(trunk, Trunk):
        raise ConfigError(f"trunk {name!r}: made a {type(trunk).__name__}, not a spp_det.networks.Trunk")
    return trunk
