"""Detections as other programs have them: COCO's annotations, supervision, FiftyOne."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from spp_det.errors import SppDetError
from spp_det.structures import Detections, Scores, Size


def coco_annotations(detections: Detections, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """COCO's annotations of the detections of one image; the category of label 0 is 1, and ids count from `first_id`.

    Boxes are [x, y, width, height] in px, a score is an SVM margin.
    """
    rows = []
    for number, ((x1, y1, x2, y2), score, label) in enumerate(
        zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
    ):
        box = [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)]
        area = round((x2 - x1) * (y2 - y1), 2)
        about = {"id": first_id + number, "image_id": image_id, "category_id": label + 1, "iscrowd": 0}
        rows.append({**about, "bbox": box, "area": area, "score": round(score, 4)})
    return rows


def to_supervision(detections: Detections) -> Any:
    """What `Detections.to_supervision` does."""
    supervision = _package("supervision")
    data = {"class_name": np.array(detections.names, dtype=str), "score": detections.scores.copy()}
    return supervision.Detections(
        xyxy=detections.boxes.copy(),
        confidence=_confidences(detections).copy(),
        class_id=detections.labels.copy(),
        data=data,
    )


def to_fiftyone(detections: Detections, size: Size) -> Any:
    """What `Detections.to_fiftyone` does."""
    fiftyone = _package("fiftyone")
    height, width = size
    found = []
    for (x1, y1, x2, y2), name, confidence, score in zip(
        detections.boxes.tolist(),
        detections.names,
        _confidences(detections).tolist(),
        detections.scores.tolist(),
        strict=True,
    ):
        box = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
        found.append(fiftyone.Detection(label=name, bounding_box=box, confidence=confidence, score=score))
    return fiftyone.Detections(detections=found)


def _confidences(detections: Detections) -> Scores:
    """Probabilities, or the margins of a detector that is not calibrated: float32 [N]."""
    return detections.scores if detections.probabilities is None else detections.probabilities


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as fault:
        if fault.name != name:
            raise  # one that theirs imports is missing
        raise SppDetError(f"{name} is not installed: pip install {name}") from None
