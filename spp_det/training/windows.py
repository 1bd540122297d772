"""From the objects and proposals of an image to the windows that training draws from."""

from __future__ import annotations

import numpy as np

from spp_det.boxes import covered, iou
from spp_det.structures import Boxes, Proposals, Target
from spp_det.training.source import Windows


def without_crowds(proposals: Proposals, crowds: Boxes) -> Proposals:
    """The proposals of which less than half lies in one of the crowds, boxes float32 [N, 4].

    Objects of a crowd are not marked one by one, so that a window in it is neither an object nor background.
    """
    if not len(crowds) or not len(proposals):
        return proposals
    return proposals[covered(proposals.boxes, crowds).max(axis=1) < 0.5]


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
