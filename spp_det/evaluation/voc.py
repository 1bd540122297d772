"""Average precision as the Pascal VOC devkit counts it (VOCevaldet.m).

All detections of a class, over all images, are gone through best score first. Each belongs to the object of its class
and image that it overlaps most, difficult ones included. If that overlap is large enough, the detection is right where
the object was free, wrong where it was taken, and ignored where it is difficult; otherwise it is wrong. Difficult
objects are not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spp_det.boxes import iou
from spp_det.structures import Boxes, Detections, Target

Method = Literal["11point", "area"]
OverlapTest = Literal[">=", ">"]  # the devkit's; py-faster-rcnn's
Floats = npt.NDArray[np.float64]  # [N]
Verdicts = npt.NDArray[np.int8]  # [N]

RIGHT, WRONG, IGNORED = np.int8(1), np.int8(0), np.int8(-1)


@dataclass(frozen=True, eq=False)
class Curve:
    """Recall and precision of one class after each detection that counts, best score first.

    recall, precision: float64 [N] in [0, 1]; objects: how many there were to find. Without any, recall is nan.
    """

    recall: Floats
    precision: Floats
    objects: int


def evaluate(
    targets: Mapping[str, Target],
    detections: Mapping[str, Detections],
    class_names: Sequence[str],
    min_overlap: float = 0.5,
    method: Method = "11point",
    overlap_test: OverlapTest = ">=",
) -> dict[str, Any]:
    """Average precision of each class, and its mean.

    targets, detections: by image, the same images in both; equal scores count in the order of `targets`.
    min_overlap: the IoU from which on (">=") or above which (">") a detection finds an object.
    method: see `average_precision`; "11point" is VOC2007's, "area" is that of VOC2010 and later.
    Returns {"map": .., "ap": {class name: ..}}, fractions in [0, 1]. A class without an object in `targets` (difficult
    ones aside) has the AP nan and is left out of the mean.
    """
    curves = precision_recall(targets, detections, class_names, min_overlap, overlap_test)
    ap = {
        name: average_precision(curve.recall, curve.precision, method) if curve.objects else float("nan")
        for name, curve in curves.items()
    }
    known = [value for value in ap.values() if not np.isnan(value)]
    return {"map": float(np.mean(known)) if known else float("nan"), "ap": ap}


def precision_recall(
    targets: Mapping[str, Target],
    detections: Mapping[str, Detections],
    class_names: Sequence[str],
    min_overlap: float = 0.5,
    overlap_test: OverlapTest = ">=",
) -> dict[str, Curve]:
    """The curve of each class, by name; arguments as in `evaluate`."""
    check_ids(targets, detections)
    for image_id, found in detections.items():
        if found.class_names != tuple(class_names):
            raise ValueError(f"the detections of image {image_id} are of other classes")
    found_scores = _join([detections[key].scores for key in targets], np.float32)
    found_labels = _join([detections[key].labels for key in targets], np.int64)
    verdicts = _join([match(targets[key], detections[key], min_overlap, overlap_test) for key in targets], np.int8)
    asked = _join([target.labels[~target.difficult] for target in targets.values()], np.int64)
    return {
        name: evaluate_class(
            verdicts[found_labels == label], found_scores[found_labels == label], int((asked == label).sum())
        )
        for label, name in enumerate(class_names)
    }


def match(
    target: Target, detections: Detections, min_overlap: float = 0.5, overlap_test: OverlapTest = ">="
) -> Verdicts:
    """RIGHT, WRONG or IGNORED for each detection of one image, int8 [N], by the rules at the head of this file."""
    verdicts = np.full(len(detections), WRONG)
    if not len(target) or not len(detections):
        return verdicts
    overlaps = exact_iou(detections.boxes, target.boxes)
    overlaps[detections.labels[:, None] != target.labels[None, :]] = -1
    nearest = overlaps.argmax(axis=1)
    overlap = overlaps.max(axis=1)
    hits = overlap >= min_overlap if overlap_test == ">=" else overlap > min_overlap
    easy = hits & ~target.difficult[nearest]
    verdicts[hits & ~easy] = IGNORED
    ranked = np.argsort(-detections.scores, kind="stable")
    claims = ranked[easy[ranked]]
    _, first = np.unique(nearest[claims], return_index=True)  # an object belongs to the best that claims it
    verdicts[claims[first]] = RIGHT
    return verdicts


def evaluate_class(verdicts: Verdicts, scores: npt.NDArray[np.floating], objects: int) -> Curve:
    """The curve of one class: what `match` said of its detections [N], their scores [N], its count of objects."""
    ranked = verdicts[np.argsort(-scores, kind="stable")]
    counted = ranked[ranked != IGNORED] == RIGHT
    right = np.cumsum(counted)
    recall = right / objects if objects else np.full(len(right), np.nan)
    return Curve(recall, right / np.arange(1, len(right) + 1), objects)


def average_precision(recall: Floats, precision: Floats, method: Method = "11point") -> float:
    """One number for a curve: recall float64 [N], ascending, and precision [N].

    "11point": the mean over recalls of 0, 0.1, .. 1 of the best precision at that recall or beyond (VOC2007). The
    recalls are exact tenths here; the devkit's `0:0.1:1` lies one rounding above 0.3.
    "area": the area under the curve after making it fall (VOC2010 and later).
    """
    if method == "11point":
        best = [precision[recall >= tenth].max(initial=0.0) for tenth in np.arange(11) / 10]
        return float(np.mean(best))
    if method != "area":
        raise ValueError(f"an average precision is by 11point or area, not {method!r}")
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((steps * falling).sum())


def exact_iou(a: Boxes, b: Boxes) -> Floats:
    """`boxes.iou` in float64, [N, M]: an overlap of exactly one half is one half on large images too."""
    wide_a: np.ndarray = a.astype(np.float64)
    wide_b: np.ndarray = b.astype(np.float64)
    return iou(wide_a, wide_b)


def check_ids(targets: Mapping[str, Target], found: Mapping[str, Any]) -> None:
    """Raises ValueError where the two are not of the same images."""
    for image_id in targets.keys() ^ found.keys():
        where = "no result" if image_id in targets else "a result, but no target"
        raise ValueError(f"image {image_id} has {where}")


def _join(arrays: list[np.ndarray], dtype: npt.DTypeLike) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays])
