"""From a configuration to the parts that it names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import msgspec

from spp_det.config import Config
from spp_det.datasets import DATASETS, Dataset
from spp_det.errors import ConfigError
from spp_det.memory import keep_memory
from spp_det.networks import FcHead, Trunk, build_trunk, fill_from_pretrained
from spp_det.proposals import PROPOSALS, ProposalMethod
from spp_det.regions import REGIONS, RegionExtractor
from spp_det.training import SvmSettings


def resolve(name: str, parts: Mapping[str, Any], key: str) -> Any:
    """The part of a room's dict, or `package.module:Name` of the user's own. Raises ConfigError naming the key."""
    if name in parts:
        return parts[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(f'{key} = "{name}": there is {", ".join(parts)}, or package.module:Name')
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as fault:
        raise ConfigError(f'{key} = "{name}": {fault}') from None
    except AttributeError:
        raise ConfigError(f'{key} = "{name}": {module_name} has no {attribute}') from None


def make_dataset(config: Config, split: str) -> Dataset:
    """The data set of a split."""
    data = config.data
    options: dict[str, Any] = dict(data.options)
    if data.format == "voc":
        options["year"] = data.year
    if data.classes is not None:
        options["classes"] = tuple(data.classes)
    return _call(resolve(data.format, DATASETS, "data.format"), "data.options", data.root, split=split, **options)


def make_proposals(config: Config, threads: int | None = None) -> ProposalMethod:
    """The proposal method; `threads` bounds those of one image."""
    settings = config.proposals
    part = resolve(settings.method, PROPOSALS, "proposals.method")
    if settings.method == "file":
        return part(settings.file)
    if settings.method == "selective_search":
        return part(settings.mode, config.seed, settings.min_side, settings.max_windows, threads)
    if settings.method == "edge_boxes":
        return part(settings.file, settings.max_windows, settings.min_side)
    return _call(part, "proposals")


def make_trunk(config: Config) -> Trunk:
    """The trunk with its weights."""
    keep_memory()
    return build_trunk(config.trunk.name, config.trunk.weights, config.trunk.input)


def make_head(config: Config, trunk: Trunk, num_classes: int) -> FcHead:
    """fc6, fc7 and a new softmax layer: from the trunk's pretrained fc layers where it has them, else from the seed."""
    bins = sum(n * n for n in config.maps.levels)
    tune = config.finetune
    head = FcHead(trunk.out_channels * bins, tune.hidden, num_classes, tune.dropout, config.seed)
    if trunk.pretrained_fc is not None:
        fill_from_pretrained(head, trunk.pretrained_fc, trunk.out_channels, config.maps.levels)
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


def _call(part: Any, key: str, *args: Any, **options: Any) -> Any:
    try:
        return part(*args, **options)
    except (TypeError, ValueError) as fault:  # an option that the part does not take, or not so
        raise ConfigError(f"{key}: {fault}") from None
