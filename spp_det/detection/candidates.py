"""From the scores of all windows to the detections of one image, in the three orders in use.

paper      score > min_score, NMS, the best `max_per_class`, box regression, clip
released   the same, and NMS once more on the regressed boxes (S:spp_test.m:73-107, S:imdb/imdb_eval_voc.m:65)
rcnn       score > min_score, the best `max_per_class` unsuppressed, box regression, clip, NMS (R:rcnn_test.m:47-80)

It goes in two steps, `select_candidates` and `finish`, with the regression between them, so that one pass over the
images gives the detections with regression and without.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from spp_det.boxes import clip, nonempty
from spp_det.config import DetectConfig
from spp_det.detection.suppression import Indices, by_class, nms_labelled, nms_per_class
from spp_det.structures import Boxes, Detections, Labels, Scores, Size, empty_boxes


@dataclass(frozen=True, eq=False)
class Candidates:
    """The windows of one image that a class may still claim; a window stands once for each such class.

    windows: int64 [M], the row of each among the image's proposals; boxes: float32 [M, 4]; scores: float32 [M], SVM
    margins; labels: int64 [M]; regressed: float32 [M, 4], the boxes as the regressor moves them, or None before that.
    Class by class, best score first within one.
    """

    windows: Indices
    boxes: Boxes
    scores: Scores
    labels: Labels
    regressed: Boxes | None = None

    def __post_init__(self) -> None:
        count = len(self.windows)
        shapes = {"boxes": (count, 4), "scores": (count,), "labels": (count,), "regressed": (count, 4)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ValueError(f"{name} has the shape {list(array.shape)}, not {list(shape)}")

    def __len__(self) -> int:
        return len(self.windows)

    @classmethod
    def empty(cls) -> Candidates:
        """No candidate."""
        none = np.zeros(0, np.int64)
        return cls(none, empty_boxes(), np.zeros(0, np.float32), none)

    def with_regressed(self, boxes: Boxes) -> Candidates:
        """The same candidates with the regressor's boxes, float32 [M, 4], beside their own."""
        return replace(self, regressed=np.asarray(boxes, np.float32))

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name, to store, without `regressed` where that is None. `Candidates(**arrays)` undoes it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in values.items() if array is not None}


def select_candidates(boxes: Boxes, scores: npt.NDArray[np.floating], settings: DetectConfig) -> Candidates:
    """The candidates of one image, before box regression.

    boxes: float32 [N, 4]; scores: [N, K], SVM margins, finite. At most `settings.max_per_class` of each class.
    """
    scores = np.asarray(scores, np.float32)
    if scores.ndim != 2 or boxes.shape != (len(scores), 4):
        raise ValueError(f"boxes {list(boxes.shape)} and scores {list(scores.shape)} do not fit each other")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    if settings.order == "rcnn":
        windows, labels = by_class([_best(column, settings) for column in scores.T])
    else:
        windows, labels = nms_per_class(boxes, scores, settings.nms_overlap, settings.min_score, settings.max_per_class)
    return Candidates(windows, boxes[windows], scores[windows, labels], labels)


def finish(
    candidates: Candidates,
    regressed: Boxes | None,
    size: Size,
    class_names: tuple[str, ...],
    settings: DetectConfig,
) -> Detections:
    """The detections of one image: boxes clipped to it, empty ones dropped, the last NMS where the order has one.

    regressed: float32 [M, 4], the candidates' boxes as the regressor moved them; None leaves them where they are.
    size: the image's. The result is sorted by class, then best score first.
    """
    boxes = clip(candidates.boxes if regressed is None else regressed, size)
    inside = np.flatnonzero(nonempty(boxes))
    boxes, scores, labels = boxes[inside], candidates.scores[inside], candidates.labels[inside]
    if settings.order != "paper":
        kept = nms_labelled(boxes, scores, labels, settings.nms_overlap)
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    return Detections(boxes, scores, labels, class_names)


def _best(scores: Scores, settings: DetectConfig) -> Indices:
    """The windows above the least score, best first, so many at most."""
    above = np.flatnonzero(scores > settings.min_score)
    return above[np.argsort(-scores[above], kind="stable")][: settings.max_per_class]
