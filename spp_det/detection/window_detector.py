"""What finds objects in an image by scoring its windows, whatever lies behind the scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from spp_det.config import DetectConfig
from spp_det.detection.candidates import Candidates, finish
from spp_det.errors import ConfigError, SppDetError
from spp_det.images import read_image
from spp_det.proposals import ProposalMethod
from spp_det.structures import Detections, Image, Proposals, check_image
from spp_det.watch import Watch

if TYPE_CHECKING:
    from spp_det.detection.calibration import Calibration

LIKELY = 0.5  # a probability: rather right than wrong


class WindowDetector(ABC):
    """What finds objects in an image by scoring its windows: one detector, or several together.

    proposals: where windows come from; class_names: K names; settings: which scores count, and the order of what
    follows; see candidates.py.
    """

    proposals: ProposalMethod
    class_names: tuple[str, ...]
    settings: DetectConfig
    calibration: Calibration | None = None  # from scores to probabilities

    @property
    def usual_threshold(self) -> dict[str, float]:
        """What `detect` is called with where nobody says what to leave out: a probability, or else an SVM's border."""
        return {"min_score": 0.0} if self.calibration is None else {"min_probability": LIKELY}

    @abstractmethod
    def candidates(self, image: Image, proposals: Proposals, watch: Watch | None = None) -> Candidates:
        """The step before `finish`: scored windows, and where the regressor moves them (`regressed`, if there is one).

        image: uint8 [H, W, 3]; proposals: its windows, possibly none. watch: counts the seconds of each stage, as
        "maps_s", "pooling_s", "first_look_s", "fc_s" and "rest_s".
        """

    def detect(
        self,
        image: str | PathLike[str] | Image,
        proposals: Proposals | None = None,
        min_score: float | None = None,
        min_probability: float | None = None,
    ) -> Detections:
        """What is in an image, best score first within a class.

        image: a file, or uint8 [H, W, 3] in RGB. proposals: windows to use in place of the detector's own.
        min_score: leave out detections below it, an SVM margin; 0 is the SVM's own border, None keeps all of the
        settings' (what the evaluation wants). min_probability: likewise, in [0, 1], of a calibrated detector, where it
        means the same for every class. Raises ConfigError for one that is not calibrated, DataError for a file that
        cannot be read, ValueError for an array of another type or shape.
        """
        if min_probability is not None and self.calibration is None:
            raise ConfigError("the detector is not calibrated, so that its detections have no probabilities")
        pixels, image_id = read_pixels(image)
        if proposals is None:
            proposals = self.proposals.propose(pixels, image_id)
        candidates = self.candidates(pixels, proposals)
        size = pixels.shape[0], pixels.shape[1]
        detections = finish(candidates, candidates.regressed, size, self.class_names, self.settings)
        if self.calibration is not None:
            chances = self.calibration.probabilities(detections.scores, detections.labels)
            detections = replace(detections, probabilities=chances)
        if min_probability is not None:
            detections = detections.likely(min_probability)
        return detections if min_score is None else detections.above(min_score)

    def detect_many(
        self,
        images: Iterable[str | PathLike[str] | Image],
        min_score: float | None = None,
        workers: int | None = None,
        on_fault: Callable[[str, SppDetError], None] | None = None,
    ) -> Iterator[tuple[str, Detections]]:
        """(name, detections) of each image, while other processes make the windows of the next; see stream.py."""
        from spp_det.detection.stream import detect_many  # it knows this file

        return detect_many(self, images, min_score, workers, on_fault)


def read_pixels(image: str | PathLike[str] | Image) -> tuple[Image, str]:
    """The pixels, and the name by which a file of boxes knows the image."""
    if isinstance(image, (str, PathLike)):
        return read_image(image), Path(image).stem
    return check_image(image), ""
