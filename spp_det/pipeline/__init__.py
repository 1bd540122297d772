"""Experiments: the stages of training and testing, what each reads and writes, and the store they write to."""

from spp_det.pipeline.detecting import Looking, detect_files, split_pictures
from spp_det.pipeline.ensemble import evaluate_ensemble
from spp_det.pipeline.testing import evaluate_run
from spp_det.pipeline.training import train

__all__ = ["Looking", "detect_files", "evaluate_ensemble", "evaluate_run", "split_pictures", "train"]
