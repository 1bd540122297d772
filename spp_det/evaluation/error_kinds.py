"""What goes wrong: each wrong detection has one kind of error, and each object that nothing found is missed.

The kinds are those of Bolya, Foley, Hays, Hoffman: *TIDE* (2020), by the object that a detection overlaps most:

location     an object of its class, by too little       class        an object of another class, by enough
both         an object of another class, by too little   duplicate    an object of its class that a better one has
background   no object by as much as `near`              missed       objects that no detection found
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.evaluation.voc import IGNORED, RIGHT, check_ids, exact_iou, match
from spp_det.structures import Detections, Target

KINDS = ("location", "class", "both", "duplicate", "background")
NEAR = 0.1  # IoU


def error_kinds(
    targets: Mapping[str, Target],
    detections: Mapping[str, Detections],
    class_names: Sequence[str],
    min_overlap: float = 0.5,
    near: float = NEAR,
) -> dict[str, dict[str, int]]:
    """Counts for each class: "right", the KINDS of its wrong detections, and "missed", its objects that none found.

    targets, detections: by image, the same images in both. Detections of difficult objects do not count, nor do
    difficult objects count as missed.
    """
    check_ids(targets, detections)
    names = ("right", *KINDS, "missed")
    counts: dict[str, Any] = {name: dict.fromkeys(names, 0) for name in class_names}
    for image_id, target in targets.items():
        found = detections[image_id]
        for label, kind in zip(found.labels, kinds_of(target, found, min_overlap, near), strict=True):
            if kind:
                counts[class_names[label]][kind] += 1
        for label in target.labels[missed(target, found, min_overlap)]:
            counts[class_names[label]]["missed"] += 1
    return counts


def kinds_of(target: Target, found: Detections, min_overlap: float = 0.5, near: float = NEAR) -> list[str]:
    """What each detection of one image is: "right", one of KINDS, or "" for one of a difficult object."""
    verdicts = match(target, found, min_overlap)
    overlaps = exact_iou(found.boxes, target.boxes)  # [N, objects]
    same = found.labels[:, None] == target.labels[None, :]
    own = np.where(same, overlaps, 0).max(axis=1, initial=0.0)
    other = np.where(same, 0, overlaps).max(axis=1, initial=0.0)
    kinds = []
    for verdict, of_own, of_other in zip(verdicts, own, other, strict=True):
        if verdict in (RIGHT, IGNORED):
            kinds.append("right" if verdict == RIGHT else "")
        elif of_own >= min_overlap:
            kinds.append("duplicate")
        elif of_other >= min_overlap:
            kinds.append("class")
        elif max(of_own, of_other) < near:
            kinds.append("background")
        else:
            kinds.append("location" if of_own >= of_other else "both")
    return kinds


def missed(target: Target, found: Detections, min_overlap: float = 0.5) -> npt.NDArray[np.bool_]:
    """Which objects, difficult ones aside, no detection of their class overlaps enough: bool [objects]."""
    overlaps = exact_iou(target.boxes, found.boxes)
    overlaps[target.labels[:, None] != found.labels[None, :]] = 0
    return (overlaps.max(axis=1, initial=0.0) < min_overlap) & ~target.difficult
