"""An image and its Target: VOC's, COCO's and YOLO's forms, ILSVRC DET, generated shapes, and what is in memory."""

from spp_det.datasets.base import (
    Dataset,
    annotation_paths,
    check_id,
    crowds,
    image_digest,
    image_paths,
    loose_faults,
    object_areas,
    positives_only,
    target_basis,
)
from spp_det.datasets.coco import CocoDataset
from spp_det.datasets.formats import DATASETS, open_dataset, spread
from spp_det.datasets.ilsvrc import ILSVRCDetection
from spp_det.datasets.recognise import Recognised, recognise
from spp_det.datasets.shapes import SHAPES_CLASSES, ShapesDataset, make_shapes
from spp_det.datasets.voc import VOC_CLASSES, VOCDataset
from spp_det.datasets.voc_results import write_results
from spp_det.datasets.yolo import YoloDataset

__all__ = [
    "DATASETS",
    "SHAPES_CLASSES",
    "VOC_CLASSES",
    "CocoDataset",
    "Dataset",
    "ILSVRCDetection",
    "Recognised",
    "ShapesDataset",
    "VOCDataset",
    "YoloDataset",
    "annotation_paths",
    "check_id",
    "crowds",
    "image_digest",
    "image_paths",
    "loose_faults",
    "make_shapes",
    "object_areas",
    "open_dataset",
    "positives_only",
    "recognise",
    "spread",
    "target_basis",
    "write_results",
]
