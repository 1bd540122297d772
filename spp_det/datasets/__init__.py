"""An image and its Target: the VOC devkit's layout, and generated shapes in it."""

from collections.abc import Callable

from spp_det.datasets.base import Dataset
from spp_det.datasets.shapes import SHAPES_CLASSES, ShapesDataset, make_shapes
from spp_det.datasets.voc import VOC_CLASSES, VOCDataset
from spp_det.datasets.voc_results import write_results

DATASETS: dict[str, Callable[..., Dataset]] = {"voc": VOCDataset, "shapes": ShapesDataset}

__all__ = [
    "DATASETS",
    "SHAPES_CLASSES",
    "VOC_CLASSES",
    "Dataset",
    "ShapesDataset",
    "VOCDataset",
    "make_shapes",
    "write_results",
]
