"""Kinds of error by a table worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spp_det.evaluation.error_kinds import error_kinds, kinds_of, missed
from spp_det.structures import Detections, Target, empty_boxes

NAMES = ("cat", "dog")
CAT, DOG, HARD, LOST = [0, 0, 10, 10], [40, 0, 50, 10], [80, 0, 90, 10], [0, 40, 10, 50]
TARGET = Target([CAT, DOG, HARD, LOST], [0, 1, 0, 0], [False, False, True, False])
FOUND = [
    (CAT, 9.0, 0, "right"),
    ([0, 0, 10, 9], 8.0, 0, "duplicate"),
    ([0, 0, 10, 4], 7.0, 0, "location"),
    (CAT, 6.0, 1, "class"),
    ([0, 0, 10, 3], 5.0, 1, "both"),
    ([60, 60, 70, 70], 4.0, 1, "background"),
    (HARD, 3.0, 0, ""),
    (DOG, 2.0, 1, "right"),
    ([5, 45, 25, 65], 1.0, 0, "background"),  # IoU 25 / 475 with the last cat
]


def found() -> Detections:
    boxes, scores, labels, _ = zip(*FOUND, strict=True)
    return Detections(np.array(boxes, np.float32), scores, labels, NAMES)


def test_each_kind() -> None:
    assert kinds_of(TARGET, found()) == [kind for *_, kind in FOUND]
    assert missed(TARGET, found()).tolist() == [False, False, False, True]


def test_counts() -> None:
    counts = error_kinds({"x": TARGET}, {"x": found()}, NAMES)
    assert counts["cat"] == {
        "right": 1, "location": 1, "class": 0, "both": 0, "duplicate": 1, "background": 1, "missed": 1
    }  # fmt: skip
    assert counts["dog"] == {
        "right": 1, "location": 0, "class": 1, "both": 1, "duplicate": 0, "background": 1, "missed": 0
    }  # fmt: skip


def test_nothing_there_and_nothing_found() -> None:
    empty = Target(empty_boxes(), [], [])
    counts = error_kinds({"x": empty}, {"x": found()}, NAMES)
    assert counts["cat"]["background"] + counts["dog"]["background"] == len(FOUND)
    counts = error_kinds({"x": TARGET}, {"x": Detections.empty(NAMES)}, NAMES)
    assert (counts["cat"]["missed"], counts["dog"]["missed"]) == (2, 1)
    with pytest.raises(ValueError, match="no result"):
        error_kinds({"x": TARGET}, {}, NAMES)
