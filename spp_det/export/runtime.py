"""An exported detector, run by onnxruntime and the compiled kernels; torch is not needed.

It is the `Detector` that every other is: its region extractor has a trunk and a head that run graphs, and the head's
layers are the scores and the box offsets themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.boxes import move
from spp_det.detection.calibration import Calibration
from spp_det.detection.detector import Detector
from spp_det.detection.first_look import FirstLook
from spp_det.errors import DataError, SppDetError
from spp_det.export.manifest import (
    FIRST_LOOK,
    HEAD,
    TRUNK,
    CalibrationTable,
    RegionsTable,
    TrunkTable,
    read_manifest,
)
from spp_det.files import read_arrays
from spp_det.memory import keep_memory
from spp_det.parallel import available_cores
from spp_det.proposals.choice import make_proposals
from spp_det.regions import RCNNRegions, RegionExtractor, SPPRegions
from spp_det.structures import Boxes, Labels, Size
from spp_det.trunk_facts import Preprocessing, TrunkFacts

Vectors = npt.NDArray[np.float32]


def load_exported(folder: str | PathLike[str], trust: Iterable[str] = ()) -> Detector:
    """What `Detector.load_onnx` does."""
    folder = Path(folder)
    manifest = read_manifest(folder, trust)
    keep_memory()
    regions = _regions(manifest.regions, OnnxTrunk(folder / TRUNK, manifest.trunk), OnnxHead(folder / HEAD))
    located = manifest.layers.regressor is not None
    read: tuple[Any, Any] = ("scores", "offsets" if located else "scores")  # the layers of OnnxHead
    detector = Detector(
        make_proposals(manifest.proposals, manifest.seed),
        regions,
        GivenScores(),
        GivenOffsets() if located else None,
        manifest.class_names,
        *read,
        manifest.detect,
        None if manifest.first_look is None else _first_look(folder / FIRST_LOOK),
    )
    detector.calibration = _calibration(manifest.calibration)
    return detector


def _first_look(path: Path) -> FirstLook:
    """Raises DataError for one that another version wrote."""
    try:
        return FirstLook.from_state(read_arrays(path))
    except KeyError as name:
        raise DataError(path, f"lacks the array {name}: export the detector again") from None


class OnnxTrunk(TrunkFacts):
    """A trunk whose layers are a graph; what else it states is in the manifest."""

    dtype = "float32"

    def __init__(self, path: Path, table: TrunkTable) -> None:
        self.name, self.out_channels = table.name, table.out_channels
        self.stride, self.offset = table.stride, table.offset
        self.preprocessing = Preprocessing(table.mean, table.std, table.channel_order, table.maximum)
        self.size_multiple, self.min_side = table.size_multiple, table.min_side
        self._digest, self._session = table.digest, open_session(path)

    def maps(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The maps of inputs: float32 [B, H', W', 3] -> [B, h, w, out_channels], a view."""
        images = np.ascontiguousarray(inputs.transpose(0, 3, 1, 2))
        return self._session.run(["map"], {"image": images})[0].transpose(0, 2, 3, 1)

    def digest(self) -> str:
        """That of the trunk which was exported."""
        return self._digest


class OnnxHead:
    """fc6, fc7, SVMs and box regressor as one graph, whose layers are "scores" and "offsets"."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)

    def numpy_layers(self, x: Vectors, names: Sequence[str]) -> list[Vectors]:
        """Pooled vectors float32 [R, D] to "scores" [R, K] and "offsets" [R, K, 4], as asked for."""
        wanted = list(dict.fromkeys(names))
        found = dict(zip(wanted, self._session.run(wanted, {"vectors": np.ascontiguousarray(x)}), strict=True))
        return [found[name] for name in names]


class GivenScores:
    """The place of the SVMs, where the head has scored the windows already."""

    def decision_function(self, features: Vectors) -> Vectors:
        """The scores [N, K] that came as features."""
        return features


class GivenOffsets:
    """The place of the box regressor, where the head has the offsets of each class already."""

    def apply(self, features: Vectors, boxes: Boxes, labels: Labels, size: Size, rows: Labels | None = None) -> Boxes:
        """The boxes moved by the offsets, float32 [M, K, 4], in their rows and of their classes; see BoxRegressor."""
        return move(boxes, features[np.arange(len(boxes)) if rows is None else rows, labels], size)


def open_session(path: Path) -> Any:
    """onnxruntime's session of a graph, on the processor. Raises SppDetError where it is not installed or refuses."""
    try:
        import onnxruntime
    except ImportError:
        raise SppDetError('onnxruntime is not installed: pip install "spp_det[export]", or onnxruntime alone') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the kernels' threads need the cores
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # its own kinds have no common one
        raise DataError(path, f"onnxruntime cannot run it ({str(fault).splitlines()[0]})") from None


def _regions(table: RegionsTable, trunk: Any, head: Any) -> RegionExtractor:
    """The extractor, which asks of trunk and head no more than these have."""
    if table.kind == "rcnn":
        return RCNNRegions(trunk, head, table.levels, table.crop_size, table.context)
    return SPPRegions(trunk, head, table.scales, table.levels, table.scale_rule, table.mapping, table.dtype)


def _calibration(table: CalibrationTable | None) -> Calibration | None:
    if table is None:
        return None
    arrays = {"sigmoids": np.array(table.sigmoids, np.float64), "shared": np.array(table.shared, np.float64)}
    return Calibration.from_state(arrays)
