"""The Detector: scores of windows to detections, suppression, drawing."""

from spp_det.detection.candidates import Candidates, finish, select_candidates
from spp_det.detection.detector import Detector
from spp_det.detection.drawing import draw, save_image
from spp_det.detection.suppression import nms, nms_per_class

__all__ = ["Candidates", "Detector", "draw", "finish", "nms", "nms_per_class", "save_image", "select_candidates"]
