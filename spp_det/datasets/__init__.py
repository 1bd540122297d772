"""An image and its Target: the VOC devkit's layout, and generated shapes in it."""

from collections.abc import Callable

from spp_det.datasets.base import Dataset, positives_only
from spp_det.datasets.ilsvrc import ILSVRCDetection
from spp_det.datasets.shapes import SHAPES_CLASSES, ShapesDataset, make_shapes
from spp_det.datasets.voc import VOC_CLASSES, VOCDataset
from spp_det.datasets.voc_results import write_results

DATASETS: dict[str, Callable[..., Dataset]] = {
    "voc": VOCDataset,
    "shapes": ShapesDataset,
    "ilsvrc_det": ILSVRCDetection,
}

__all__ = [
    "DATASETS",
    "SHAPES_CLASSES",
    "VOC_CLASSES",
    "Dataset",
    "ILSVRCDetection",
    "ShapesDataset",
    "VOCDataset",
    "make_shapes",
    "positives_only",
    "write_results",
]
