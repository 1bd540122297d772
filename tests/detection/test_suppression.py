"""Suppression beside a plain oracle, beside torchvision, and at its edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.suppression import slow_nms

from spp_det.detection.suppression import nms, nms_labelled, nms_per_class


@st.composite
def scored_boxes(draw, classes: int = 1):
    """A crowd of boxes on a small grid (so that IoUs and scores tie often), with scores [N, classes]."""
    count = draw(st.integers(0, 30))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 9, (count, 2))], axis=1).astype(np.float32)
    if draw(st.booleans()):
        boxes += rng.random((count, 4), np.float32) / 4
    scores = rng.integers(-3, 4, (count, classes)).astype(np.float32)
    return boxes, scores


@settings(deadline=None, max_examples=150)
@given(scored_boxes(), st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.7, 1.0]))
def test_nms_is_the_plain_definition(case, threshold):
    boxes, scores = case
    assert nms(boxes, scores[:, 0], threshold).tolist() == slow_nms(boxes, scores[:, 0], threshold)


@settings(deadline=None, max_examples=60)
@given(scored_boxes(), st.integers(0, 6))
def test_a_limit_cuts_the_list(case, limit):
    boxes, scores = case
    assert nms(boxes, scores[:, 0], max_kept=limit).tolist() == nms(boxes, scores[:, 0]).tolist()[:limit]


@settings(deadline=None, max_examples=60)
@given(scored_boxes(classes=3), st.sampled_from([-np.inf, -1.5, 0.0, 2.0]), st.sampled_from([None, 1, 4]))
def test_nms_per_class_is_nms_of_each_column(case, min_score, limit):
    boxes, scores = case
    kept, labels = nms_per_class(boxes, scores, 0.3, min_score, limit)
    expected = []
    for label in range(3):
        above = [i for i in range(len(boxes)) if scores[i, label] > min_score]
        chosen = slow_nms(boxes[above], scores[above, label], 0.3)[:limit]
        expected += [(above[i], label) for i in chosen]
    assert list(zip(kept.tolist(), labels.tolist(), strict=True)) == expected
    assert kept.dtype == labels.dtype == np.int64


@settings(deadline=None, max_examples=60)
@given(scored_boxes(), st.integers(0, 2**32 - 1))
def test_nms_labelled_keeps_classes_apart(case, seed):
    boxes, scores = case
    labels = np.random.default_rng(seed).integers(0, 4, len(boxes)) * 3
    expected = []
    for label in (0, 3, 6, 9):
        members = np.flatnonzero(labels == label)
        expected += [members[i] for i in slow_nms(boxes[members], scores[members, 0], 0.3)]
    assert nms_labelled(boxes, scores[:, 0], labels).tolist() == expected


def test_agrees_with_torchvision_on_many_boxes():
    rng = np.random.default_rng(0)
    corners = rng.random((2000, 2)) * 400
    boxes = np.concatenate([corners, corners + 5 + rng.random((2000, 2)) * 200], axis=1).astype(np.float32)
    scores = rng.random(2000).astype(np.float32)
    theirs = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.3)
    assert nms(boxes, scores, 0.3).tolist() == theirs.tolist()


def test_the_threshold_itself_does_not_suppress():
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)  # IoU exactly 0.5
    assert nms(boxes, np.array([2.0, 1.0]), 0.5).tolist() == [0, 1]
    assert nms(boxes, np.array([2.0, 1.0]), 0.49).tolist() == [0]


def test_equal_scores_keep_the_first():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]], np.float32)
    assert nms(boxes, np.zeros(3, np.float32)).tolist() == [0, 2]


def test_no_box_and_no_class():
    none = np.zeros((0, 4), np.float32)
    assert nms(none, np.zeros(0, np.float32)).shape == (0,)
    assert [a.shape for a in nms_per_class(none, np.zeros((0, 3)))] == [(0,), (0,)]
    assert [a.shape for a in nms_per_class(np.ones((2, 4), np.float32), np.zeros((2, 0)))] == [(0,), (0,)]
    assert nms_labelled(none, np.zeros(0, np.float32), np.zeros(0, np.int64)).shape == (0,)


def test_arguments_that_do_not_fit():
    boxes = np.array([[0, 0, 2, 1]], np.float32)
    with pytest.raises(ValueError, match="do not fit"):
        nms(boxes, np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"shape \[N\]"):
        nms(boxes, np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match=r"shape \[N, K\]"):
        nms_per_class(boxes, np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="not a number"):
        nms(boxes, np.array([np.nan]))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        nms(boxes, np.zeros(1), 30)
