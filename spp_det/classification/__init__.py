"""SPP-net as an image classifier: multi-size training, views on the map, whole-image vectors for linear classifiers."""

from spp_det.classification.config import ClassificationConfig, load_classification
from spp_det.classification.folders import LabelledImages, read_folders
from spp_det.classification.network import SPPClassifier, build_classifier, load_classifier, save_classifier
from spp_det.classification.training import train_classifier

__all__ = [
    "ClassificationConfig",
    "LabelledImages",
    "SPPClassifier",
    "build_classifier",
    "load_classification",
    "load_classifier",
    "read_folders",
    "save_classifier",
    "train_classifier",
]
