"""Write a trained detector as ONNX graphs and a manifest, from which runtime.py makes it again without torch.

trunk.onnx    an image to its map
windows.onnx  a map and windows to scores and box offsets: pooling, first look, fc6, fc7, SVMs, box regression
head.onnx     the same behind the pooling, for who pools by himself, as spp_det does
layers.bin    the matrices of both
export.json   all else (manifest.py); first_look.safetensors where there is a first look
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import onnx.checker
import torch

from spp_det import __version__
from spp_det.detection.bundle import head_arrays, load_detector
from spp_det.detection.detector import Detector
from spp_det.errors import ConfigError
from spp_det.export.graph import SharedWeights
from spp_det.export.layers import Layers, head_model, windows_model
from spp_det.export.manifest import (
    FIRST_LOOK,
    FORMAT,
    HEAD,
    MANIFEST,
    TRUNK,
    WEIGHTS,
    WINDOWS,
    CalibrationTable,
    FirstLookTable,
    LayersTable,
    Manifest,
    RegionsTable,
    TrunkTable,
    write_manifest,
)
from spp_det.export.trunk import trunk_model
from spp_det.files import write_arrays, write_whole
from spp_det.networks import FcHead, LowRankLinear, Trunk
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.training import BoxRegressor, LinearSVMs


def export_detector(detector: Detector, folder: str | PathLike[str]) -> Manifest:
    """See spp_det.export."""
    folder = Path(folder)
    regions = _float32_regions(detector)
    layers = _layers(detector, regions)
    (folder / MANIFEST).unlink(missing_ok=True)  # no half of an old export counts as whole
    weights = SharedWeights(WEIGHTS)
    models = {TRUNK: trunk_model(regions.trunk)}
    models |= {WINDOWS: windows_model(layers, weights), HEAD: head_model(layers, weights)}
    weights.write(folder)
    for name, model in models.items():
        write_whole(folder / name, model.SerializeToString(deterministic=True))
        onnx.checker.check_model(folder / name)
    files = [*models, WEIGHTS]
    if layers.first_look is not None:
        write_arrays(folder / FIRST_LOOK, layers.first_look.state())
        files.append(FIRST_LOOK)
    manifest = _manifest(detector, regions, {name: (folder / name).stat().st_size for name in files})
    write_manifest(folder, manifest)
    return manifest


def _float32_regions(detector: Detector) -> SPPRegions | RCNNRegions:
    """The region extractor with its networks in float32, read anew where the detector computes in another precision."""
    regions = detector.regions
    if detector.config is None or not isinstance(regions, SPPRegions | RCNNRegions):
        raise ConfigError(
            "a detector that did not come from a folder cannot be exported: nothing says how to make its windows"
        )
    if not isinstance(regions.trunk, Trunk):
        raise ConfigError("the detector was exported already: copy its folder")
    if regions.head.fc8.weight.dtype != torch.float32:
        if detector.folder is None:
            raise ConfigError("the detector computes in bfloat16 and lies in no folder: save it first")
        regions = load_detector(detector.folder).regions
    assert isinstance(regions, SPPRegions | RCNNRegions)
    return regions


def _layers(detector: Detector, regions: SPPRegions | RCNNRegions) -> Layers:
    svms, regressor = detector.svms, detector.regressor
    if not isinstance(svms, LinearSVMs) or not isinstance(regressor, BoxRegressor | None):
        raise ConfigError("only a detector of linear SVMs and linear box regressors can be exported")
    return Layers(
        regions.trunk.out_channels,
        regions.levels,
        head_arrays(regions.head),
        svms,
        detector.layer,
        regressor,
        detector.regression_layer,
        detector.first_look,
    )


def _manifest(detector: Detector, regions: SPPRegions | RCNNRegions, files: dict[str, int]) -> Manifest:
    assert detector.config is not None
    look, calibration = detector.first_look, detector.calibration
    return Manifest(
        format=FORMAT,
        made_by=f"spp_det {__version__}",
        class_names=detector.class_names,
        trunk=_trunk_table(regions.trunk),
        regions=_regions_table(regions),
        layers=_layers_table(detector, regions.head),
        first_look=None
        if look is None
        else FirstLookTable(levels=look.levels, keep=look.keep, min_windows=look.min_windows),
        calibration=None
        if calibration is None
        else CalibrationTable(sigmoids=calibration.sigmoids_.tolist(), shared=tuple(calibration.shared_.tolist())),
        detect=detector.settings,
        proposals=detector.config.proposals,
        seed=detector.config.seed,
        files=files,
    )


def _trunk_table(trunk: Trunk) -> TrunkTable:
    how = trunk.preprocessing
    return TrunkTable(
        name=trunk.name,
        digest=trunk.digest(),
        out_channels=trunk.out_channels,
        stride=trunk.stride,
        offset=trunk.offset,
        mean=how.mean,
        std=how.std,
        channel_order=how.channel_order,
        maximum=how.maximum,
        size_multiple=trunk.size_multiple,
        min_side=trunk.min_side,
    )


def _regions_table(regions: SPPRegions | RCNNRegions) -> RegionsTable:
    if isinstance(regions, RCNNRegions):
        return RegionsTable(kind="rcnn", levels=regions.levels, crop_size=regions.crop_size, context=regions.context)
    return RegionsTable(
        kind="spp",
        levels=regions.levels,
        scales=regions.scales,
        scale_rule=regions.scale_rule,
        mapping=regions.mapping,
        dtype="float16" if regions.dtype.itemsize == 2 else "float32",
    )


def _layers_table(detector: Detector, head: FcHead) -> LayersTable:
    ranks = tuple(fc.rank if isinstance(fc, LowRankLinear) else None for fc in (head.fc6, head.fc7))
    reads = None if detector.regressor is None else detector.regression_layer
    return LayersTable(svms=detector.layer, regressor=reads, ranks=(ranks[0], ranks[1]))
