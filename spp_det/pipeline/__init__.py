"""Experiments: the stages of training and testing, what each reads and writes, and the store they write to.

The names below come from the files of this room when they are first asked for, since detecting.py does without torch,
which the others need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spp_det.pipeline.detecting import Looking, detect_files, split_pictures
    from spp_det.pipeline.ensemble import evaluate_ensemble
    from spp_det.pipeline.testing import evaluate_run
    from spp_det.pipeline.training import train

__all__ = ["Looking", "detect_files", "evaluate_ensemble", "evaluate_run", "split_pictures", "train"]

_FILES = {
    "Looking": "detecting",
    "detect_files": "detecting",
    "split_pictures": "detecting",
    "evaluate_ensemble": "ensemble",
    "evaluate_run": "testing",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
