"""VOC average precision, COCO's figures, proposal recall, timing."""

from spp_det.evaluation.coco import coco_figures, coco_table
from spp_det.evaluation.recall import proposal_recall
from spp_det.evaluation.timing import time_detectors, timing_table
from spp_det.evaluation.voc import Curve, average_precision, evaluate, precision_recall

__all__ = [
    "Curve",
    "average_precision",
    "coco_figures",
    "coco_table",
    "evaluate",
    "precision_recall",
    "proposal_recall",
    "time_detectors",
    "timing_table",
]
