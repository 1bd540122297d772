"""Boxes moved to the mean of those that agree with them (Gidaris and Komodakis 2015, section 3.3).

A box that is kept takes the weighted mean of all boxes of its class that overlap it by at least VOTE_OVERLAP, itself
among them. The weight of a box is its margin over -1, where an SVM's background begins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spp_det.boxes import iou
from spp_det.structures import Boxes, Labels, Scores

VOTE_OVERLAP = 0.5  # IoU
LEAST_SCORE = -1.0  # a margin


def voters(scores: npt.NDArray[np.floating]) -> tuple[Labels, Labels]:
    """Which windows have a vote on which class: rows and labels, int64 [M], of scores [N, K]."""
    rows, labels = np.nonzero(scores > LEAST_SCORE)
    return rows.astype(np.int64), labels.astype(np.int64)


def vote(boxes: Boxes, labels: Labels, voting: Boxes, voting_labels: Labels, voting_scores: Scores) -> Boxes:
    """The kept boxes float32 [N, 4] of classes [N], moved by the voting ones [M, 4]: float32 [N, 4].

    A box that nobody votes on stays where it is.
    """
    moved = boxes.copy()
    for label in np.unique(labels):
        kept, own = np.flatnonzero(labels == label), np.flatnonzero(voting_labels == label)
        weights = (voting_scores[own] - LEAST_SCORE) * (iou(boxes[kept], voting[own]) >= VOTE_OVERLAP)
        total = weights.sum(axis=1)
        heard = total > 0
        moved[kept[heard]] = weights[heard] @ voting[own] / total[heard, None]
    return moved
