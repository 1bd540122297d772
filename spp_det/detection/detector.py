"""The detector: windows of an image, a vector for each, an SVM for each class, and what is left after suppression."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from spp_det.config import DetectConfig, Layer
from spp_det.detection.candidates import Candidates, finish, select_candidates
from spp_det.images import read_image
from spp_det.proposals import ProposalMethod
from spp_det.structures import Boxes, Detections, Image, Labels, Proposals, Scores, Size, check_image

if TYPE_CHECKING:  # else it would load torch, which a reader of `Detections` may never need
    from spp_det.regions import RegionExtractor

Vectors = npt.NDArray[np.float32]  # [N, D]


class Classifiers(Protocol):
    """One linear SVM for each class."""

    def decision_function(self, features: Vectors) -> npt.NDArray[np.floating]:
        """Scores [N, K] of vectors float32 [N, D]."""


class Regressor(Protocol):
    """Box regression for each class."""

    def apply(self, features: Vectors, boxes: Boxes, labels: Labels, size: Size) -> Boxes:
        """The boxes [N, 4] of classes [N], moved by what their vectors say."""


class Detector:
    """detect(image) = proposals + maps + pooled windows + fc + SVM scores + NMS + box regression.

    proposals, regions, svms, regressor: the parts, by what they do (see the protocols of their rooms and
    those above); without a regressor the windows stay where they are.
    class_names: K names, in the order of the SVMs' columns.
    layer: what the SVMs read; regression_layer: what the regressor reads; "pool5", "fc6" or "fc7".
    settings: which scores count, and in which order suppression and regression come; see candidates.py.
    """

    def __init__(
        self,
        proposals: ProposalMethod,
        regions: RegionExtractor,
        svms: Classifiers,
        regressor: Regressor | None = None,
        class_names: Sequence[str] = (),
        layer: Layer = "fc7",
        regression_layer: Layer = "pool5",
        settings: DetectConfig | None = None,
    ) -> None:
        self.proposals = proposals
        self.regions = regions
        self.svms = svms
        self.regressor = regressor
        self.class_names = tuple(class_names)
        self.layer = layer
        self.regression_layer = regression_layer
        self.settings = settings or DetectConfig()

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> Detector:
        """The detector that a run left in a folder; raises SppDetError where it is missing or incomplete."""
        from spp_det.detection.bundle import load_detector  # bundle.py knows every part, this file none of them

        return load_detector(path, **options)

    def detect(
        self,
        image: str | PathLike[str] | Image,
        proposals: Proposals | None = None,
        min_score: float | None = None,
    ) -> Detections:
        """What is in an image, best score first within a class.

        image: a file, or uint8 [H, W, 3] in RGB. proposals: windows to use in place of the detector's own.
        min_score: leave out detections below it, an SVM margin; 0 is the SVM's own border, None keeps all of the
        settings' (what the evaluation wants). Raises DataError for a file that cannot be read, ValueError for an
        array of another type or shape.
        """
        pixels, image_id = _read(image)
        if proposals is None:
            proposals = self.proposals.propose(pixels, image_id)
        candidates = self.candidates(pixels, proposals)
        size = pixels.shape[0], pixels.shape[1]
        detections = finish(candidates, candidates.regressed, size, self.class_names, self.settings)
        return detections if min_score is None else detections.above(min_score)

    def candidates(self, image: Image, proposals: Proposals) -> Candidates:
        """The step before `finish`: scored windows, and where the regressor moves them (`regressed`, if there is one).

        image: uint8 [H, W, 3]; proposals: its windows, possibly none.
        """
        image = check_image(image)
        if not len(proposals):
            return Candidates.empty()
        boxes = proposals.boxes
        features = self.regions.image_features(image)
        first, place = self.regions.distinct(features, boxes)
        pooled = self.regions.window_features(features, boxes[first], "pool5")
        scores = self.svms.decision_function(self.at_layer(self.layer, pooled))
        return self.judge(boxes, pooled, place, scores, (image.shape[0], image.shape[1]))

    def judge(self, boxes: Boxes, pooled: Vectors, place: Labels, scores: Scores, size: Size) -> Candidates:
        """What comes after the scores: suppression and regression.

        boxes: float32 [N, 4]; pooled: the distinct vectors at "pool5", float32 [M, D]; place: int64 [N], the row there
        of each box; scores: of the distinct vectors, float32 [M, K]; size: the image's.
        """
        candidates = select_candidates(boxes, scores[place], self.settings)
        if self.regressor is None:
            return candidates
        regressed = candidates.boxes.copy()
        for label in np.unique(candidates.labels):  # by class, since all their pooled vectors at once are large
            rows = np.flatnonzero(candidates.labels == label)
            of_class = self.at_layer(self.regression_layer, pooled[place[candidates.windows[rows]]])
            regressed[rows] = self.regressor.apply(of_class, candidates.boxes[rows], candidates.labels[rows], size)
        return candidates.with_regressed(regressed)

    def at_layer(self, layer: Layer, pooled: Vectors) -> Vectors:
        """Pooled vectors float32 [N, D] on to "pool5" (as they are), "fc6" or "fc7"."""
        return pooled if layer == "pool5" else self.regions.head.numpy(pooled, layer)


def _read(image: str | PathLike[str] | Image) -> tuple[Image, str]:
    """The pixels, and the name by which a file of boxes knows the image."""
    if isinstance(image, (str, PathLike)):
        return read_image(image), Path(image).stem
    return check_image(image), ""
