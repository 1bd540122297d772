"""What stands beside the graphs of an exported detector: all that `detect` needs and no graph says, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from spp_det.config import DetectConfig, ProposalsConfig, Rule, checked
from spp_det.errors import DataError
from spp_det.files import read_json, write_json
from spp_det.trust import check_parts

FORMAT = 1
MANIFEST = "export.json"
TRUNK, WINDOWS, HEAD, WEIGHTS, FIRST_LOOK = (
    "trunk.onnx",
    "windows.onnx",
    "head.onnx",
    "layers.bin",
    "first_look.safetensors",
)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class TrunkTable(_Table, frozen=True):
    """How an image becomes the trunk's input, and where the cells of its map lie; see trunk_facts.py."""

    name: str
    digest: str
    out_channels: int
    stride: int
    offset: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: Literal["rgb", "bgr"]
    maximum: float
    size_multiple: int
    min_side: int


class RegionsTable(_Table, frozen=True):
    """Which windows become which cells of which map: see regions/, whose settings these are."""

    kind: Literal["spp", "rcnn"]
    levels: tuple[int, ...]
    scales: tuple[int, ...] = ()
    scale_rule: Rule = "paper"
    mapping: Rule = "paper"
    dtype: Literal["float32", "float16"] = "float32"
    crop_size: int = 227
    context: int = 16


class LayersTable(_Table, frozen=True):
    """What the SVMs read and what the box regressor, None where there is none; the ranks of fc6 and fc7, if thin."""

    svms: str
    regressor: str | None
    ranks: tuple[int | None, int | None]


class CalibrationTable(_Table, frozen=True):
    """a and b of each class's probability, 1 / (1 + exp(a * score + b)), and those for a class without its own."""

    sigmoids: list[tuple[float, float]]
    shared: tuple[float, float]


class FirstLookTable(_Table, frozen=True):
    """The share of an image's windows that goes on, and how many at least, by a pyramid of these levels."""

    levels: tuple[int, ...]
    keep: float
    min_windows: int


class Manifest(_Table, frozen=True):
    """An exported detector. files: the bytes of each file beside this one."""

    format: int
    made_by: str
    class_names: tuple[str, ...]
    trunk: TrunkTable
    regions: RegionsTable
    layers: LayersTable
    first_look: FirstLookTable | None
    calibration: CalibrationTable | None
    detect: DetectConfig
    proposals: ProposalsConfig
    seed: int
    files: dict[str, int]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it; the last file of an export, so that none is taken for whole that is not."""
    write_json(folder / MANIFEST, msgspec.to_builtins(manifest))


def read_manifest(folder: Path, trust: Iterable[str] = ()) -> Manifest:
    """Read it. Raises DataError where the folder holds no exported detector, or not all of its files as written.

    Raises ConfigError where a value in it is none that can be, or its proposals are code that is not among the packages
    to trust, see trust.py.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "holds no exported detector; spp-det export writes one" if folder.is_dir() else "there is no such folder"
        raise DataError(folder, what)
    table = read_json(path)
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise DataError(path, f"is no manifest of the format {FORMAT}: export the run again")
    manifest = checked(table, Manifest, str(path))
    check_parts({"proposals": table["proposals"]}, path, trust=trust)
    for name, size in manifest.files.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            fault = "is missing" if found is None else f"has {found} bytes, not the {size} that were written"
            raise DataError(folder / name, f"{fault}: export the run again")
    return manifest
