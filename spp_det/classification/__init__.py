"""SPP-net as an image classifier: multi-size training, views on the map, whole-image vectors for linear classifiers."""

from spp_det.classification.config import ClassificationConfig, load_classification
from spp_det.classification.features import ImageFeatures
from spp_det.classification.folders import LabelledImages, read_folders
from spp_det.classification.network import SPPClassifier, build_classifier, load_classifier, save_classifier
from spp_det.classification.protocols import PerClassSplits, class_accuracy, class_ap, mean_ap, presence_of
from spp_det.classification.svm import MultiLabelSVM, OneVsRestSVM
from spp_det.classification.testing import evaluate_classifier, view_errors
from spp_det.classification.training import train_classifier
from spp_det.classification.views import Plan, ViewClassifier, plan_views

__all__ = [
    "ClassificationConfig",
    "ImageFeatures",
    "LabelledImages",
    "MultiLabelSVM",
    "OneVsRestSVM",
    "PerClassSplits",
    "Plan",
    "SPPClassifier",
    "ViewClassifier",
    "build_classifier",
    "class_accuracy",
    "class_ap",
    "evaluate_classifier",
    "load_classification",
    "load_classifier",
    "mean_ap",
    "plan_views",
    "presence_of",
    "read_folders",
    "save_classifier",
    "train_classifier",
    "view_errors",
]
