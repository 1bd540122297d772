"""From scores to detections: each order by hand, and against the steps spelt out with the plain oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.suppression import slow_nms

from spp_det.config import DetectConfig
from spp_det.detection.candidates import Candidates, finish, select_candidates

NAMES = ("cat", "dog")
SIZE = (100, 200)

# Two cats side by side: windows 0 and 1 on the first (IoU 0.8), window 2 on the second, window 3 far off.
BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10], [60, 60, 70, 70]], np.float32)
SCORES = np.array([[2.0, -9], [1.0, -9], [0.5, 3.0], [-1.6, -1.4]], np.float32)
# The regressor pulls windows 2 onto the first cat, where window 0 stays, and window 1 out of the image.
MOVED = {0: [0, 0, 10, 10], 1: [-5, 90, 5, 110], 2: [0, 0, 10, 9], 3: [60, 60, 70, 70]}


def regressed(candidates: Candidates) -> np.ndarray:
    return np.array([MOVED[window] for window in candidates.windows.tolist()], np.float32).reshape(-1, 4)


def run(order, **changes):
    config = DetectConfig(order=order, **changes)
    candidates = select_candidates(BOXES, SCORES, config)
    return candidates, finish(candidates, regressed(candidates), SIZE, NAMES, config)


def test_paper_order():
    """Window 1 falls to window 0; after regression nothing is suppressed any more."""
    candidates, found = run("paper")
    assert candidates.windows.tolist() == [0, 2, 2, 3]
    assert candidates.labels.tolist() == [0, 0, 1, 1]
    assert found.boxes.tolist() == [MOVED[0], MOVED[2], MOVED[2], MOVED[3]]
    assert found.names == ["cat", "cat", "dog", "dog"]
    assert found.scores.tolist() == [2.0, 0.5, 3.0, pytest.approx(-1.4)]


def test_released_order():
    """The same candidates; the second suppression takes the cat of window 2, which now lies on window 0."""
    candidates, found = run("released")
    assert candidates.windows.tolist() == [0, 2, 2, 3]
    assert found.boxes.tolist() == [MOVED[0], MOVED[2], MOVED[3]]
    assert found.names == ["cat", "dog", "dog"]


def test_rcnn_order():
    """Window 1 is not suppressed before it is moved, and it is clipped to the image before the suppression."""
    candidates, found = run("rcnn")
    assert candidates.windows.tolist() == [0, 1, 2, 2, 3]
    assert found.boxes.tolist() == [MOVED[0], [0, 90, 5, 100], MOVED[2], MOVED[3]]
    assert found.names == ["cat", "cat", "dog", "dog"]


def test_rcnn_counts_before_the_suppression():
    """Of the best two cats, windows 0 and 1, one survives; the other orders count afterwards and find window 2."""
    for order, expected in {"paper": [0, 2], "released": [0, 2], "rcnn": [0]}.items():
        config = DetectConfig(order=order, max_per_class=2)
        candidates = select_candidates(BOXES, SCORES[:, :1], config)
        found = finish(candidates, None, SIZE, ("cat",), config)
        assert found.boxes.tolist() == BOXES[expected].tolist()


@pytest.mark.parametrize("order", ["paper", "released", "rcnn"])
def test_without_regression_the_boxes_stay(order):
    config = DetectConfig(order=order)
    candidates = select_candidates(BOXES, SCORES, config)
    found = finish(candidates, None, SIZE, NAMES, config)
    assert {tuple(box) for box in found.boxes.tolist()} <= {tuple(box) for box in BOXES.tolist()}


@pytest.mark.parametrize("order", ["paper", "released", "rcnn"])
def test_the_least_score_is_left_out(order):
    config = DetectConfig(order=order, min_score=0.5)
    assert select_candidates(BOXES, SCORES, config).scores.min() > 0.5


@pytest.mark.parametrize("order", ["paper", "released", "rcnn"])
def test_boxes_moved_out_of_the_image_are_dropped(order):
    config = DetectConfig(order=order)
    candidates = select_candidates(BOXES, SCORES, config)
    away = np.tile(np.array([300, 0, 310, 10], np.float32), (len(candidates), 1))
    assert len(finish(candidates, away, SIZE, NAMES, config)) == 0


def test_arrays_go_round():
    candidates = select_candidates(BOXES, SCORES, DetectConfig())
    assert set(candidates.arrays()) == {"windows", "boxes", "scores", "labels"}
    moved = candidates.with_regressed(regressed(candidates))
    again = Candidates(**moved.arrays())
    assert again.regressed is not None
    assert again.regressed.tolist() == regressed(candidates).tolist()
    assert [a.dtype for a in again.arrays().values()] == [np.int64, np.float32, np.float32, np.int64, np.float32]


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        select_candidates(BOXES, SCORES[:2], DetectConfig())
    with pytest.raises(ValueError, match="not finite"):
        select_candidates(BOXES, np.where(SCORES > 2, np.nan, SCORES), DetectConfig())
    candidates = select_candidates(BOXES, SCORES, DetectConfig())
    with pytest.raises(ValueError, match="regressed has the shape"):
        candidates.with_regressed(BOXES[:1])


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["paper", "released", "rcnn"]), st.integers(1, 6))
def test_is_the_steps_spelt_out(seed, order, limit):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 20))
    corners = rng.integers(0, 12, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 9, (count, 2))], axis=1).astype(np.float32)
    scores = rng.integers(-4, 4, (count, 2)).astype(np.float32)
    shift = rng.integers(-6, 7, (count, 4)).astype(np.float32)
    config = DetectConfig(order=order, min_score=-2.0, max_per_class=limit)
    candidates = select_candidates(boxes, scores, config)
    found = finish(candidates, candidates.boxes + shift[candidates.windows], (14, 14), NAMES, config)

    expected = []
    for label in range(2):
        chosen = [i for i in range(count) if scores[i, label] > -2]
        chosen.sort(key=lambda i: -scores[i, label])
        if order != "rcnn":
            chosen = [chosen[i] for i in slow_nms(boxes[chosen], scores[chosen, label], 0.3)]
        moved = [(i, np.clip(boxes[i] + shift[i], 0, 14)) for i in chosen[:limit]]
        moved = [(i, box) for i, box in moved if box[0] < box[2] and box[1] < box[3]]
        if order != "paper":
            kept = slow_nms([box for _, box in moved], [scores[i, label] for i, _ in moved], 0.3)
            moved = [moved[i] for i in kept]
        expected += [(box.tolist(), float(scores[i, label]), NAMES[label]) for i, box in moved]
    assert [(box.tolist(), score, name) for box, score, name in found] == expected
