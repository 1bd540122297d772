"""From a configuration to the parts that it names."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import msgspec

from spp_det.config import Config
from spp_det.errors import ConfigError
from spp_det.memory import keep_memory
from spp_det.networks import FcHead, Trunk, build_trunk, compress_head, fill_from_pretrained
from spp_det.proposals import ProposalMethod, choice
from spp_det.regions import REGIONS, RegionExtractor
from spp_det.resolve import resolve
from spp_det.training import SvmSettings


def make_proposals(config: Config, threads: int | None = None) -> ProposalMethod:
    """The proposal method that the configuration names; `threads` bounds those of one image."""
    return choice.make_proposals(config.proposals, config.seed, threads)


def make_trunk(config: Config) -> Trunk:
    """The trunk with its weights."""
    keep_memory()
    return build_trunk(config.trunk.name, config.trunk.weights, config.trunk.input)


def make_head(config: Config, trunk: Trunk, num_classes: int) -> FcHead:
    """fc6, fc7 and a new softmax layer: from the trunk's pretrained fc layers where it has them, else from the seed.

    With `finetune.rank` fc6 and fc7 are products of two matrices: of pretrained layers the closest to them. Raises
    ConfigError for settings that pretrained layers do not allow.
    """
    bins = sum(n * n for n in config.maps.levels)
    tune, pretrained = config.finetune, trunk.pretrained_fc
    rank = tune.rank if pretrained is None else None
    in_features = trunk.out_channels * bins
    head = FcHead(in_features, tune.hidden, num_classes, tune.dropout, config.seed, tune.fc8_bias, rank=rank)
    if pretrained is not None:
        if tune.standardise:
            raise ConfigError("finetune.standardise is for layers that start at random: this trunk has pretrained ones")
        fill_from_pretrained(head, pretrained, trunk.out_channels, config.maps.levels)
        if tune.rank is not None:
            head = compress_head(head, tune.rank)
    return head


def make_regions(config: Config, trunk: Trunk, head: FcHead) -> RegionExtractor:
    """The region extractor that the configuration names."""
    maps, regions = config.maps, config.regions
    part = resolve(regions.kind, REGIONS, "regions.kind")
    if regions.kind == "rcnn":
        return part(trunk, head, levels=maps.levels, crop_size=regions.crop_size, context=regions.context)
    return part(trunk, head, maps.scales, maps.levels, maps.scale_rule, maps.mapping)


def make_svm_settings(config: Config) -> SvmSettings:
    """How the configuration trains SVMs."""
    return SvmSettings(seed=config.seed, **named_settings(msgspec.structs.asdict(config.svm), SvmSettings))


def regressor_params(config: Config) -> dict[str, Any]:
    """The parameters of the box regressor that the configuration describes."""
    table = msgspec.structs.asdict(config.regress)
    del table["enabled"]
    return {**table, "seed": config.seed}


def named_settings(table: dict[str, Any], settings: type) -> dict[str, Any]:
    """Those of a table's values that a dataclass of settings has a field for."""
    names = {field.name for field in fields(settings)}
    return {name: value for name, value in table.items() if name in names}
