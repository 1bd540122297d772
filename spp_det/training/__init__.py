"""Training: which windows, fine-tuning of the fc layers, SVMs with hard negatives, box regression."""

from spp_det.training.finetune import PAPER_RATES, RELEASED_RATES, FinetuneSettings, finetune
from spp_det.training.mining import SvmMemory, SvmSettings, train_class
from spp_det.training.mirrored import WithMirrored
from spp_det.training.moments import Moments, StandardisedSource
from spp_det.training.regression import BoxRegressor, RegressionMemory
from spp_det.training.sampling import SamplingSettings
from spp_det.training.source import PooledSource, Windows, WindowSource
from spp_det.training.standardised import Standardised, standardise
from spp_det.training.svm import LinearSVMs, feature_norm
from spp_det.training.train_svms import train_svms
from spp_det.training.whole import finetune_whole
from spp_det.training.windows import make_windows

__all__ = [
    "PAPER_RATES",
    "RELEASED_RATES",
    "BoxRegressor",
    "FinetuneSettings",
    "LinearSVMs",
    "Moments",
    "PooledSource",
    "RegressionMemory",
    "SamplingSettings",
    "Standardised",
    "StandardisedSource",
    "SvmMemory",
    "SvmSettings",
    "WindowSource",
    "Windows",
    "WithMirrored",
    "feature_norm",
    "finetune",
    "finetune_whole",
    "make_windows",
    "standardise",
    "train_class",
    "train_svms",
]
