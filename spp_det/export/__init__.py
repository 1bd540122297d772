"""A trained detector as ONNX graphs, and the same detector run from them without torch.

writing.py and what it imports need torch and onnx; runtime.py needs onnxruntime alone.
"""

from __future__ import annotations

import importlib.util
from os import PathLike
from typing import TYPE_CHECKING

from spp_det.errors import SppDetError

if TYPE_CHECKING:
    from spp_det.detection.detector import Detector
    from spp_det.export.manifest import Manifest

NEEDED = ("onnx", "onnxscript")


def export_detector(detector: Detector, folder: str | PathLike[str]) -> Manifest:
    """What `Detector.export` does; returns what the manifest says."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SppDetError(f'exporting needs {" and ".join(missing)}: pip install "spp_det[export]"')
    from spp_det.export import writing

    return writing.export_detector(detector, folder)
