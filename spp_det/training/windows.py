"""From the objects and proposals of an image to the windows that training draws from."""

from __future__ import annotations

import numpy as np

from spp_det.boxes import iou
from spp_det.structures import Proposals, Target
from spp_det.training.source import Windows


def make_windows(
    target: Target, proposals: Proposals, num_classes: int, use_difficult: bool = False, exhaustive: bool = True
) -> Windows:
    """The ground truth, then the proposals, with their overlaps (roidb_from_voc.m of the release).

    Difficult objects are absent, as if nobody had marked them: no positives come from them, and a window on one may be
    a negative. With `use_difficult` they count like any other object, which is what the released script does.
    Where not every object is marked (`exhaustive` is false) there are no proposals: one may lie on an unmarked object.
    Raises ValueError for a label that is not below `num_classes`.
    """
    if len(target) and target.labels.max() >= num_classes:
        raise ValueError(f"label {target.labels.max()} where there are {num_classes} classes")
    objects = target if use_difficult else target[~target.difficult]
    boxes = np.concatenate([objects.boxes, proposals.boxes]) if exhaustive else objects.boxes
    is_truth = np.arange(len(boxes)) < len(objects)
    overlaps = np.zeros((len(boxes), num_classes), np.float32)
    if not len(objects):
        return Windows(boxes, overlaps, is_truth, np.zeros(len(boxes), np.int64), boxes.copy(), exhaustive)

    with_objects = iou(boxes, objects.boxes)  # [N, objects]
    for label in np.unique(objects.labels):
        overlaps[:, label] = with_objects[:, objects.labels == label].max(axis=1)
    best = with_objects.argmax(axis=1)
    best[: len(objects)] = np.arange(len(objects))  # an object is its own best match, also where two share a box
    touches = with_objects.max(axis=1) > 0
    matched = np.where(touches[:, None], objects.boxes[best], boxes)
    return Windows(boxes, overlaps, is_truth, objects.labels[best], matched, exhaustive)
