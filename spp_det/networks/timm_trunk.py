"""Any convolutional network of timm as a trunk."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from spp_det.errors import ConfigError, WeightsError
from spp_det.networks.inputs import choose_input
from spp_det.networks.probe import probe_geometry
from spp_det.networks.trunk import Preprocessing, Trunk
from spp_det.networks.weights import Tensors, fill, not_downloaded, read_tensors, seeded

SIZE_MULTIPLE = 32  # some networks pad as TensorFlow does, and some add maps of stride 16 and 32


def timm_trunk(name: str, weights: str = "default", input: str = "default") -> Trunk:
    """timm's network `name` up to the deepest map at stride 16, or the finest below that it can give.

    Networks that can dilate their last stage give its map at stride 16. Stride and offset are read off gradients.
    weights: "default" (timm's download), "random", or the path of a file with timm's names.
    Raises ConfigError for an unknown network or one without a regular map, WeightsError for weights that do not fit.
    """
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"unknown trunk 'timm:{name}': timm has no network of this name")
    body = _body(name, pretrained=weights == "default")
    if weights not in ("default", "random"):
        fill(body.net, _names_of_features(read_tensors(weights), body.net), weights)
    stride, offset, channels = probe_geometry(body, SIZE_MULTIPLE)
    cfg: Any = timm.get_pretrained_cfg(name)
    return Trunk(
        body,
        name=f"timm:{name}",
        out_channels=channels,
        stride=stride,
        offset=offset,
        size_multiple=SIZE_MULTIPLE,
        preprocessing=choose_input(input, Preprocessing(mean=tuple(cfg.mean), std=tuple(cfg.std))),
    )


class _LastMap(nn.Module):
    """The last of the maps that a timm network gives."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = self.net(x)
        return maps[-1]


def _body(name: str, pretrained: bool) -> _LastMap:
    """The network's layers up to the chosen map. Raises WeightsError where the download fails."""
    import timm

    options: dict[str, Any] = {"features_only": True, "output_stride": 16}
    try:
        net: Any = timm.create_model(name, **options)
    except (TypeError, AssertionError, NotImplementedError):  # how timm says that it cannot dilate this network
        del options["output_stride"]
        net = timm.create_model(name, **options)
    reductions = net.feature_info.reduction()
    options["out_indices"] = (max((i for i, r in enumerate(reductions) if r <= 16), default=0),)
    try:
        return _LastMap(seeded(lambda: timm.create_model(name, pretrained=pretrained, **options)))
    except (OSError, RuntimeError) as fault:
        raise WeightsError(not_downloaded(_origin(name), fault)) from None


def _origin(name: str) -> str:
    """Where timm fetches the weights of a network."""
    import timm

    cfg: Any = timm.get_pretrained_cfg(name)
    return f"https://huggingface.co/{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url or f"timm:{name}"


def _names_of_features(tensors: Tensors, net: nn.Module) -> Tensors:
    """A whole network's tensors under the names of its feature extractor, which writes stages_0 for stages.0.

    Those of layers behind the chosen map are left out.
    """
    named = {name.replace(".", "_"): value for name, value in tensors.items()}
    flat = {name: name.replace(".", "_") for name in net.state_dict()}
    return {name: named[key] for name, key in flat.items() if key in named}
