"""Voting against a plain loop, and in the detector."""

from __future__ import annotations

import numpy as np
import pytest
from reference.colour_parts import NAMES, ColourSVMs, FixedProposals, MeanColours, Mover
from reference.training import random_boxes

from spp_det.boxes import iou
from spp_det.config import Config, DataConfig, DetectConfig, RegressConfig
from spp_det.detection.detector import Detector
from spp_det.detection.voting import vote, voters


def plain_vote(boxes, labels, voting, voting_labels, scores):
    moved = []
    for box, label in zip(boxes, labels, strict=True):
        total, weighed = 0.0, np.zeros(4)
        for other, its_label, score in zip(voting, voting_labels, scores, strict=True):
            if label == its_label and iou(box[None], other[None])[0, 0] >= 0.5:
                total += score + 1
                weighed += (score + 1) * other
        moved.append(weighed / total if total > 0 else box)
    return np.array(moved)


@pytest.mark.parametrize("seed", range(5))
def test_against_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 12)
    voting = np.concatenate([boxes + rng.normal(0, 2, boxes.shape).astype(np.float32) for _ in range(8)])
    labels, voting_labels = rng.integers(0, 3, 12), rng.integers(0, 3, len(voting))
    scores = rng.uniform(-0.99, 2, len(voting)).astype(np.float32)
    found = vote(boxes, labels, voting, voting_labels, scores)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain_vote(boxes, labels, voting, voting_labels, scores), rtol=1e-4)


def test_who_votes_and_nobody():
    rows, labels = voters(np.array([[-1.0, 0.5], [-0.99, -2.0]]))
    assert (rows.tolist(), labels.tolist()) == ([0, 1], [1, 0])
    box = np.array([[1, 2, 30, 40]], np.float32)
    none = np.zeros((0, 4), np.float32)
    assert (
        vote(box, np.zeros(1, np.int64), none, np.zeros(0, np.int64), np.zeros(0, np.float32)).tolist() == box.tolist()
    )
    assert len(vote(none, np.zeros(0, np.int64), box, np.zeros(1, np.int64), np.ones(1, np.float32))) == 0


@pytest.mark.parametrize("regressor", [None, Mover()])
def test_in_the_detector_boxes_move_to_the_mean_of_those_that_agree(regressor):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[5:25, 10:30, 0] = 200
    near = np.array([[10, 5, 30, 25], [12, 5, 30, 25], [70, 0, 80, 10]], np.float32)
    parts = (FixedProposals(near), MeanColours(), ColourSVMs(), regressor, NAMES)
    plain, voting = (Detector(*parts, settings=DetectConfig(vote=each)) for each in (False, True))
    before, after = plain.detect(picture, min_score=0), voting.detect(picture, min_score=0)
    assert len(before) == len(after) == 1
    assert after.scores.tolist() == before.scores.tolist()
    assert after.boxes[0] == pytest.approx(before.boxes[0] + [1, 0, 0, 0], abs=0.1)  # the mean of 10 and 12


def test_a_vote_needs_the_regressor():
    with pytest.raises(ValueError, match=r"it needs regress\.enabled - at `\$\.detect\.vote`"):
        Config(data=DataConfig(root="none"), detect=DetectConfig(vote=True), regress=RegressConfig(enabled=False))
