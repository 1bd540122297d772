"""The forms of data sets that a configuration names, and from its `[data]` to a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spp_det.config import DataConfig
from spp_det.datasets.base import Dataset
from spp_det.datasets.coco import CocoDataset
from spp_det.datasets.held_out import keep_part, split_and_part
from spp_det.datasets.ilsvrc import ILSVRCDetection
from spp_det.datasets.shapes import ShapesDataset
from spp_det.datasets.voc import VOCDataset
from spp_det.datasets.yolo import YoloDataset
from spp_det.errors import DataError
from spp_det.places import as_path, is_remote
from spp_det.resolve import call_part, resolve

DATASETS: dict[str, Callable[..., Dataset]] = {
    "voc": VOCDataset,
    "coco": CocoDataset,
    "yolo": YoloDataset,
    "shapes": ShapesDataset,
    "ilsvrc_det": ILSVRCDetection,
}


def open_dataset(data: DataConfig, split: str) -> Dataset:
    """The data set of a split, or of a part of one such as "all:learn" (held_out.py), of `max_images` images at most.

    Raises ConfigError for an unknown format, part or option, DataError for files that are missing or broken.
    """
    options: dict[str, Any] = dict(data.options)
    if data.format == "voc":
        options["year"] = data.year
    if data.classes is not None:
        options["classes"] = tuple(data.classes)
    name, part = split_and_part(split)
    root = as_path(data.root)
    if data.format in DATASETS and data.format != "shapes" and not is_remote(root) and not root.exists():
        here = "" if root.is_absolute() else f" in {Path.cwd()}, where the command was given"
        raise DataError(root, f"there is no such folder{here}")
    dataset = call_part(resolve(data.format, DATASETS, "data.format"), "data.options", data.root, split=name, **options)
    if part is not None:
        keep_part(dataset, part)
    if data.max_images is not None:
        dataset.ids = spread(dataset.ids, data.max_images)
    return dataset


def spread(ids: Sequence[str], count: int) -> tuple[str, ...]:
    """So many of the ids, from all over."""
    return tuple(ids[:: max(1, len(ids) // count)][:count])
