"""Proposal recall beside a plain count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.suppression import slow_iou

from spp_det.evaluation.recall import proposal_recall
from spp_det.structures import Proposals, Target, empty_boxes

NAMES = ("cat", "dog", "cow")


def test_worked_by_hand():
    """Two cats (best overlaps 0.8 and 0), one dog (0.5), one difficult cow that is not asked for."""
    boxes = np.array([[0, 0, 10, 10], [40, 40, 50, 50], [20, 0, 30, 10], [70, 70, 80, 80]], np.float32)
    target = Target(boxes, [0, 0, 1, 2], [False, False, False, True])
    windows = np.array([[20, 0, 30, 5], [0, 0, 10, 8], [70, 70, 80, 80]], np.float32)
    result = proposal_recall({"1": target}, {"1": Proposals(windows)}, NAMES)
    assert result["recall_0.5"] == pytest.approx(2 / 3)
    assert result["recall_0.7"] == pytest.approx(1 / 3)
    assert result["abo"]["cat"] == pytest.approx(0.4)
    assert result["abo"]["dog"] == pytest.approx(0.5)
    assert math.isnan(result["abo"]["cow"])
    assert result["mabo"] == pytest.approx(0.45)
    assert (result["windows"], result["objects"]) == (3, 3)
    first = proposal_recall({"1": target}, {"1": Proposals(windows)}, NAMES, thresholds=(0.5,), max_windows=1)
    assert (first["recall_0.5"], first["windows"]) == (pytest.approx(1 / 3), 1)
    assert "recall_0.7" not in first


def test_images_without_windows_or_objects():
    one = Target([[0, 0, 10, 10]], [0], [False])
    none = Target(empty_boxes(), [], [])
    result = proposal_recall({"1": one, "2": none}, {k: Proposals(empty_boxes()) for k in "12"}, NAMES)
    assert (result["recall_0.5"], result["mabo"], result["windows"]) == (0, 0, 0)
    nothing = proposal_recall({"2": none}, {"2": Proposals([[0, 0, 1, 1]])}, NAMES)
    assert math.isnan(nothing["recall_0.5"])
    assert math.isnan(nothing["mabo"])
    with pytest.raises(ValueError, match="image 2 has no result"):
        proposal_recall({"2": none}, {}, NAMES)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0, 3]))
def test_is_the_plain_count(seed, max_windows):
    rng = np.random.default_rng(seed)

    def boxes(count):
        corners = rng.integers(0, 8, (count, 2))
        return np.concatenate([corners, corners + rng.integers(1, 6, (count, 2))], axis=1).astype(np.float32)

    targets, proposals, best = {}, {}, []
    for image in range(3):
        count = rng.integers(0, 5)
        target = Target(boxes(count), rng.integers(0, 3, count), rng.random(count) < 0.3)
        windows = boxes(rng.integers(0, 8))
        targets[str(image)], proposals[str(image)] = target, Proposals(windows)
        for box, label, hard in zip(target.boxes, target.labels, target.difficult, strict=True):
            if not hard:
                overlaps = [slow_iou(box, window) for window in windows[:max_windows]]
                best.append((int(label), max(overlaps, default=0.0)))
    result = proposal_recall(targets, proposals, NAMES, max_windows=max_windows)
    if not best:
        assert math.isnan(result["recall_0.5"])
        return
    for threshold in (0.5, 0.7):
        assert result[f"recall_{threshold}"] == pytest.approx(sum(o >= threshold for _, o in best) / len(best))
    of_class = [[o for label, o in best if label == own] for own in range(3)]
    assert result["mabo"] == pytest.approx(np.mean([np.mean(some) for some in of_class if some]))
