"""Object detection around SPP-net: convolve once, pool any window, one linear SVM per class."""

from spp_det.detection import Detector
from spp_det.shipped import detect
from spp_det.structures import Detections, Proposals, Target

__version__ = "0.1.0"
__all__ = ["Detections", "Detector", "Proposals", "Target", "__version__", "detect"]
