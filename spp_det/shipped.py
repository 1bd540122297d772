"""The detector that comes with the package, where it does: a run's folder inside of it."""

from __future__ import annotations

from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from spp_det.errors import DataError
from spp_det.structures import Detections, Image

if TYPE_CHECKING:
    from spp_det.detection import Detector

SHIPPED = Path(__file__).parent / "models" / "voc"


def shipped_run() -> Path:
    """Its folder. Raises DataError where this copy of the package has none."""
    if not (SHIPPED / "detector.json").is_file():
        raise DataError(SHIPPED, "this copy of spp_det ships no detector; name a trained run (--run)")
    return SHIPPED


def detect(image: str | PathLike[str] | Image, min_probability: float | None = None) -> Detections:
    """What the shipped detector sees in an image, a file or uint8 [H, W, 3] in RGB; see `Detector.detect`.

    min_probability: in [0, 1], for every class alike; by default 0.5.
    """
    detector = _shipped_detector()
    if min_probability is None:
        min_probability = detector.usual_threshold["min_probability"]
    return detector.detect(image, min_probability=min_probability)


@cache
def _shipped_detector() -> Detector:
    from spp_det.detection import Detector

    return Detector.load(shipped_run())
