"""A trained detector in a folder: `config.toml`, `head.safetensors`, `svms.safetensors`, `regressor.safetensors`, for a
compressed one `first_look.safetensors`, and `detector.json`, which is written last; memory.py names the files of added
classes. The trunk's weights are not in it: the configuration says where they come from, and their digest is checked.
Where they were tuned, as in R-CNN, `trunk.safetensors` holds them, and they take the place of those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import torch
from torch import nn

from spp_det.config import Config, config_to_toml
from spp_det.detection.calibration import Calibration
from spp_det.detection.detector import Detector
from spp_det.detection.first_look import FirstLook
from spp_det.detection.memory import CALIBRATION, forget, memory_path, write_background, write_memory
from spp_det.detection.on_device import choose_device
from spp_det.errors import ConfigError, DataError, WeightsError
from spp_det.files import read_arrays, read_json, write_arrays, write_json, write_whole
from spp_det.networks import FcHead, LowRankLinear, Trunk, compute_dtype
from spp_det.networks.head import LAYERS
from spp_det.parts import make_head, make_proposals, make_regions, make_trunk, regressor_params
from spp_det.places import as_path
from spp_det.regions import RCNNRegions, RegionExtractor, SPPRegions
from spp_det.training import BoxRegressor, LinearSVMs
from spp_det.trust import load_run_config

T = TypeVar("T")
FORMAT = 1
FIRST_LOOK = "first_look.safetensors"
TRUNK = "trunk.safetensors"
WEIGHT_FILES = ("head.safetensors", "svms.safetensors", "regressor.safetensors", FIRST_LOOK, TRUNK, CALIBRATION)


def save_detector(
    folder: str | PathLike[str],
    config: Config,
    class_names: Sequence[str],
    trunk: Trunk,
    head: FcHead,
    svms: LinearSVMs,
    regressor: BoxRegressor | None,
    regression_layer: str | None = None,
    first_look: FirstLook | None = None,
    tuned_from: str | None = None,
) -> None:
    """Write the parts of a detector into a folder; what `load_detector` needs to make it again.

    regression_layer: what the regressor reads, where it is not the configuration's `regress.layer`.
    tuned_from: the digest of the trunk before it was tuned, where it was: then its weights are written too.
    """
    folder = as_path(folder)
    (folder / "detector.json").unlink(missing_ok=True)  # no half of an old detector counts as whole
    forget(folder)
    write_arrays(folder / "head.safetensors", head_arrays(head))
    trunk_facts = {"trunk": trunk.digest()}
    if tuned_from is not None:
        write_arrays(folder / TRUNK, {name: tensor.numpy() for name, tensor in trunk.state().items()})
        trunk_facts = {"trunk": tuned_from, "tuned_trunk": trunk.digest()}
    _write_rest(folder, config, class_names, trunk_facts, head, svms, regressor, regression_layer, first_look)


def write_detector(folder: Path, detector: Detector) -> None:
    """What `Detector.save` does. Networks are copied from the detector's own folder, where they are float32."""
    regions, svms, regressor, own = detector.regions, detector.svms, detector.regressor, detector.folder
    if detector.config is None or not isinstance(regions, SPPRegions | RCNNRegions):
        raise ConfigError(
            "a detector that did not come from a folder cannot be saved: nothing says how to make its parts"
        )
    if not isinstance(svms, LinearSVMs) or not isinstance(regressor, BoxRegressor | None):
        raise ConfigError("only a detector of linear SVMs and linear box regressors can be saved")
    memories = {name: detector.memory(name) for name in {*detector.memories, *detector.class_names}}
    background = detector.background()
    head = head_arrays(regions.head) if own is None else read_arrays(own / "head.safetensors")
    known = {"trunk": regions.trunk.digest()} if own is None else read_json(own / "detector.json")
    trunk_facts = {name: known[name] for name in ("trunk", "tuned_trunk") if name in known}
    (folder / "detector.json").unlink(missing_ok=True)
    if own is None or folder.resolve() != own.resolve():
        forget(folder)
        write_arrays(folder / "head.safetensors", head)
        if own is not None and "tuned_trunk" in trunk_facts:
            write_arrays(folder / TRUNK, read_arrays(own / TRUNK))
        if background is not None:
            write_background(folder, background)
    for name, memory in memories.items():
        if memory is None:
            memory_path(folder, name).unlink(missing_ok=True)
        else:
            write_memory(folder, name, memory)
    if detector.calibration is not None:
        write_arrays(folder / CALIBRATION, detector.calibration.state())
    else:
        (folder / CALIBRATION).unlink(missing_ok=True)
    config = with_classes(detector.config, detector.class_names)
    layer, look = detector.regression_layer, detector.first_look
    _write_rest(folder, config, detector.class_names, trunk_facts, regions.head, svms, regressor, layer, look)
    detector.config, detector.folder, detector.memories = config, folder, {}


def with_classes(config: Config, class_names: Sequence[str]) -> Config:
    """The configuration whose data set has these classes, where its form lets them be chosen."""
    if config.data.format == "shapes":
        return config
    return msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, classes=list(class_names)))


def _write_rest(
    folder: Path,
    config: Config,
    class_names: Sequence[str],
    trunk_facts: dict[str, str],
    head: FcHead,
    svms: LinearSVMs,
    regressor: BoxRegressor | None,
    regression_layer: str | None,
    first_look: FirstLook | None,
) -> None:
    """All but the head, `detector.json` last."""
    write_whole(folder / "config.toml", config_to_toml(config).encode())
    write_arrays(folder / "svms.safetensors", svms.state())
    if regressor is not None:
        write_arrays(folder / "regressor.safetensors", regressor.state())
    facts: dict[str, Any] = {
        "format": FORMAT,
        "class_names": list(class_names),
        **trunk_facts,
        "regressor": bool(regressor),
    }
    if head.fc8.out_features - 1 != len(class_names):
        facts["softmax"] = head.fc8.out_features - 1  # classes that it knows
    if regression_layer not in (None, config.regress.layer):
        facts["regression_layer"] = regression_layer
    if first_look is not None:
        write_arrays(folder / FIRST_LOOK, first_look.state())
        facts["first_look"] = hashlib.sha256((folder / FIRST_LOOK).read_bytes()).hexdigest()
    write_json(folder / "detector.json", facts)


def load_detector(
    path: str | PathLike[str],
    overrides: Sequence[str] = (),
    precision: str = "float32",
    trust: Sequence[str] = (),
    device: str = "cpu",
    **replaced: Any,
) -> Detector:
    """The detector in a run's folder.

    overrides, replaced: changes of its configuration, as in `load_config`. precision: of the networks, see
    networks/precision.py; device: where they compute, see `Detector.load`. trust: packages of the user's own whose
    parts the folder may name, see trust.py. Raises DataError where the folder holds no trained run or a broken one,
    WeightsError where a file does not fit or the trunk's weights are others than those trained with, ConfigError where
    it names code that is not trusted, and for a device that is not there.
    """
    folder = as_path(path)
    if not (folder / "detector.json").is_file():
        what = "holds no trained detector; spp-det train writes one" if folder.is_dir() else "there is no such run"
        raise DataError(folder, what)
    facts = _read_facts(folder / "detector.json")
    config = load_run_config(folder, overrides, trust, **replaced)
    trunk = make_trunk(config)
    if trunk.digest() != facts["trunk"]:
        raise WeightsError(f"{folder}: the trunk's weights ({config.trunk.weights}) are not those it was trained with")
    if "tuned_trunk" in facts:
        load_trunk(trunk, folder / TRUNK)
        if trunk.digest() != facts["tuned_trunk"]:
            raise WeightsError(f"{folder / TRUNK}: is not the trunk that was trained with this detector")
    names = tuple(facts["class_names"])
    head = make_head(config, trunk, facts.get("softmax", len(names)))  # classes that were added have no output there
    load_head(head, folder / "head.safetensors")
    svms = _from_file(LinearSVMs.from_state, folder / "svms.safetensors")
    regressor = None
    located = facts.get("regression_layer", config.regress.layer)
    if facts["regressor"] and config.regress.enabled:
        params = {**regressor_params(config), "layer": located}
        regressor = _from_file(partial(BoxRegressor.from_state, **params), folder / "regressor.safetensors")
    there = choose_device(device)
    dtype = compute_dtype(precision, there)
    regions = make_regions(_looking(config), trunk.to(there, dtype), head.to(there, dtype))
    _check_shapes(folder, regions, svms, config.svm.layer, regressor, located, len(names))
    proposals = make_proposals(config)
    look = None
    if "first_look" in facts and isinstance(regions, SPPRegions):
        channels = regions.trunk.out_channels
        look = _from_file(lambda arrays: FirstLook.from_state(arrays).check(channels, len(names)), folder / FIRST_LOOK)
    detector = Detector(proposals, regions, svms, regressor, names, config.svm.layer, located, config.detect, look)
    detector.config, detector.folder = config, folder
    if (folder / CALIBRATION).exists():
        detector.calibration = _from_file(Calibration.from_state, folder / CALIBRATION)
    return detector


def _looking(config: Config) -> Config:
    """The configuration with the scales of `detect.scales`, if there are any, in place of those of training."""
    scales = config.detect.scales or config.maps.scales
    return msgspec.structs.replace(config, maps=msgspec.structs.replace(config.maps, scales=scales))


def _read_facts(path: Path) -> dict[str, Any]:
    """What detector.json says. Raises DataError where it is no detector's."""
    facts = read_json(path)
    names = facts.get("class_names") if isinstance(facts, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(path, "is not a detector's: it names no classes")
    if not isinstance(facts.get("trunk"), str) or not isinstance(facts.get("regressor"), bool):
        raise DataError(path, "is not a detector's: it lacks what its trunk or its regressor is")
    if not isinstance(facts.get("softmax", 0), int) or not isinstance(facts.get("regression_layer", ""), str):
        raise DataError(path, "has a softmax that is no number, or a layer that is no name")
    return facts


def _check_shapes(
    folder: Path,
    regions: RegionExtractor,
    svms: LinearSVMs,
    layer: str,
    regressor: BoxRegressor | None,
    located: str,
    classes: int,
) -> None:
    """Raises WeightsError where the SVMs or the regressor do not fit the layers that they read, or the classes."""
    if located not in LAYERS:
        raise WeightsError(f"{folder / 'detector.json'}: {located} is no layer")
    if svms.coef_.shape != (classes, regions.dim(layer)) or svms.intercept_.shape != (classes,):
        raise WeightsError(f"{folder / 'svms.safetensors'}: does not fit {classes} classes at {layer}")
    if regressor is not None and regressor.weights_.shape != (classes, regions.dim(located) + 1, 4):
        raise WeightsError(f"{folder / 'regressor.safetensors'}: does not fit {classes} classes at {located}")


def _from_file(make: Callable[[dict[str, np.ndarray]], T], path: Path) -> T:
    """A part from the arrays in its file. Raises DataError where they are not those of such a part."""
    arrays = _read_float32(path)
    try:
        return make(arrays)
    except KeyError as name:
        raise DataError(path, f"lacks the array {name}") from None
    except (TypeError, ValueError, OverflowError) as fault:
        raise DataError(path, f"holds arrays of another shape or kind ({fault})") from None


def head_arrays(head: FcHead) -> dict[str, np.ndarray]:
    """The weights of fc6, fc7 and fc8 under their names."""
    return {name: tensor.detach().numpy() for name, tensor in head.state().items()}


def load_head(head: FcHead, path: Path) -> None:
    """Fill a head from a file; where the file has the factors of a layer, the layer becomes their product, of the width
    that they have: a compressed head may be narrower than the configuration's.

    Raises WeightsError that names the file and the first tensor that does not fit.
    """
    arrays = _read_float32(path)
    for name in ("fc6", "fc7"):
        first, second = (arrays.get(f"{name}.{factor}.weight") for factor in ("first", "second"))
        if first is not None and second is not None and first.ndim == second.ndim == 2:
            before = head.fc6.in_features if name == "fc6" else head.fc6.out_features
            setattr(head, name, LowRankLinear(before, len(second), len(first)))
    if head.fc7.out_features != head.fc8.in_features:
        head.fc8 = nn.utils.skip_init(nn.Linear, head.fc7.out_features, head.fc8.out_features)
    for name, tensor in head.state().items():
        if name not in arrays:
            raise WeightsError(f"{path}: has no {name}")
        if arrays[name].shape != tuple(tensor.shape):
            raise WeightsError(f"{path}: {name} is {list(arrays[name].shape)}, not {list(tensor.shape)}")
    head.load_state({name: torch.from_numpy(array) for name, array in arrays.items()}, path)


def load_trunk(trunk: Trunk, path: Path) -> None:
    """Fill a trunk with tuned weights from a file. Raises WeightsError naming the first tensor that does not fit."""
    trunk.load_state({name: torch.from_numpy(array) for name, array in _read_float32(path).items()}, path)


def _read_float32(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a file; those in float16, as the shipped detector has them, in float32."""
    return {name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in read_arrays(path).items()}
