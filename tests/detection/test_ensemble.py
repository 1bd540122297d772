"""Several detectors as one, beside the definition: all windows of all members, one plain suppression per class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.suppression import slow_nms
from torch import nn

from spp_det.config import DetectConfig
from spp_det.detection import Detector, finish, select_candidates
from spp_det.detection.ensemble import Ensemble, candidates_of_each
from spp_det.detection.first_look import FirstLook
from spp_det.errors import ConfigError
from spp_det.networks import FcHead, Trunk
from spp_det.networks.trunk import Preprocessing
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Proposals
from spp_det.training import LinearSVMs
from spp_det.watch import Watch

NAMES = ("a", "b", "c")
LEVELS = (1, 2)
SIZE = (64, 80)
IMAGE = np.random.default_rng(5).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


class Fixed:
    def __init__(self, boxes):
        self.boxes = boxes

    def propose(self, image, image_id):
        return Proposals(self.boxes)


class Shift:
    """Moves every box by so many pixels, and a little by what its vector says."""

    def __init__(self, step):
        self.step = step

    def apply(self, features, boxes, labels, size, rows):
        return boxes + np.float32(self.step) + features[rows, :1] % 1


def windows(count=40, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 40, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(8, 24, (count, 2))], axis=1).astype(np.float32)


def a_trunk(seed=0):
    torch.manual_seed(seed)
    preprocessing = Preprocessing((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    body = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU())
    return Trunk(body, name="t", out_channels=6, stride=4, offset=1.5, preprocessing=preprocessing)


def a_detector(seed=0, trunk=0, step=1.0, **changes):
    """Random fc layers and SVMs; equal numbers for `trunk` give equal convolutions."""
    head = FcHead(30, (12, 10), len(NAMES), 0.5, seed)
    regions = SPPRegions(a_trunk(trunk), head, (64,), LEVELS)
    rng = np.random.default_rng(seed)
    svms = LinearSVMs()
    svms.scale_, svms.intercept_ = 1.0, np.zeros(len(NAMES), np.float32)
    svms.coef_ = rng.normal(size=(len(NAMES), 10)).astype(np.float32) * 30
    parts = {"proposals": Fixed(windows()), "regions": regions, "svms": svms, "regressor": Shift(step)}
    return Detector(**{**parts, "class_names": NAMES, "settings": DetectConfig(min_score=-5.0), **changes})


def same(ours, theirs):
    assert np.array_equal(ours.boxes, theirs.boxes)
    assert np.array_equal(ours.scores, theirs.scores)
    assert np.array_equal(ours.labels, theirs.labels)


@pytest.mark.parametrize("combine", ["union", "mean"])
@pytest.mark.parametrize("order", ["paper", "released", "rcnn"])
def test_one_member_is_that_member_to_the_bit(order, combine):
    alone = a_detector(settings=DetectConfig(min_score=-5.0, order=order))
    together = Detector.ensemble([alone], combine)
    same(together.detect(IMAGE), alone.detect(IMAGE))
    ours, theirs = (each.candidates(IMAGE, Proposals(windows())) for each in (together, alone))
    assert np.array_equal(ours.windows, theirs.windows)
    assert np.array_equal(ours.regressed, theirs.regressed)
    assert len(ours) > 5


def plainly(members, boxes, config):
    """(class, score, box) of what the union leaves: every window of every member, then the plain suppression."""
    found = []
    scored = [scores_of(member, boxes) for member in members]
    for label in range(len(NAMES)):
        pool = [(m, w) for m, scores in enumerate(scored) for w in range(len(boxes)) if scores[w, label] > -5]
        their_boxes = boxes[[w for _, w in pool]]
        their_scores = np.array([scored[m][w, label] for m, w in pool])
        for index in slow_nms(their_boxes, their_scores, config.nms_overlap)[: config.max_per_class]:
            member, window = pool[index]
            features = members[member].regions.image_features(IMAGE)
            vector = members[member].regions.window_features(features, boxes[window][None], "pool5")
            moved = members[member].regressor.apply(vector, boxes[window][None], label, SIZE, np.zeros(1, np.int64))[0]
            found.append((label, float(their_scores[index]), moved.tolist()))
    return found


def scores_of(member, boxes):
    features = member.regions.image_features(IMAGE)
    return member.svms.decision_function(member.regions.window_features(features, boxes, "fc7"))


@pytest.mark.parametrize("trunks", [(0, 0), (0, 1), (0, 1, 0)])
def test_the_union_of_all_windows_then_one_suppression(trunks):
    members = [a_detector(number, trunk, step=number) for number, trunk in enumerate(trunks)]
    config = replace_settings(members, max_per_class=4)
    found = Ensemble(members).detect(IMAGE)
    expected = plainly(members, windows(), config)
    assert found.labels.tolist() == [label for label, _, _ in expected]
    assert found.scores == pytest.approx([score for _, score, _ in expected], abs=1e-5)
    assert found.boxes == pytest.approx(np.array([box for _, _, box in expected]), abs=1e-4)


def replace_settings(members, **changes):
    for member in members:
        member.settings = DetectConfig(min_score=-5.0, **changes)
    return members[0].settings


@pytest.mark.parametrize("trunks", [(0, 0), (0, 1)])
def test_the_mean_of_each_window_s_scores(trunks):
    """Beside the definition; a member without a regressor has no say in where a window moves."""
    members = [a_detector(seed, trunk, step) for seed, trunk, step in zip((1, 2), trunks, (3.0, -4.0), strict=True)]
    members.append(a_detector(3, 0, regressor=None))
    boxes = windows()
    scores = sum(scores_of(member, boxes) for member in members) / 3
    moves = []
    for member in members[:2]:
        vectors = member.regions.window_features(member.regions.image_features(IMAGE), boxes, "pool5")
        moves.append(member.regressor.step + vectors[:, 0] % 1)
    moved = boxes + np.mean(moves, axis=0)[:, None]
    found = Ensemble(members, combine="mean").candidates(IMAGE, Proposals(boxes))
    wanted = []
    for label in range(len(NAMES)):
        rows = np.flatnonzero(scores[:, label] > -5)
        kept = slow_nms(boxes[rows], scores[rows, label], members[0].settings.nms_overlap)
        wanted += [(label, int(rows[index])) for index in kept[: members[0].settings.max_per_class]]
    assert list(zip(found.labels.tolist(), found.windows.tolist(), strict=True)) == wanted
    np.testing.assert_allclose(found.scores, scores[found.windows, found.labels], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.regressed, moved[found.windows], atol=1e-3)
    assert len(found) > 5


def test_a_mean_takes_every_window_s_scores():
    looking = a_detector(1, first_look=FirstLook())
    with pytest.raises(ConfigError, match="member 1 of the ensemble drops windows: a mean takes the scores of all"):
        Ensemble([a_detector(0), looking], combine="mean")


def test_suppressing_each_member_first_would_be_another_detector():
    """A window that its own member's best covers comes back when another member's window takes that one away."""
    boxes = np.array([[0, 0, 20, 20], [6, 0, 26, 20], [14, 0, 34, 20]], np.float32)
    first = np.array([[3.0], [5.0], [1.0]])  # its middle window covers both others
    second = np.array([[6.0], [0.0], [0.0]])  # its left window covers the middle one, and not the right one
    chosen = select_candidates(np.concatenate([boxes, boxes]), np.concatenate([first, second]), DetectConfig())
    kept = chosen.boxes[chosen.scores > 0.5].tolist()
    assert kept == [boxes[0].tolist(), boxes[2].tolist()]


def test_of_equal_scores_the_earlier_member_comes_first():
    twins = [a_detector(3, step=1.0), a_detector(3, step=40.0)]
    same(Ensemble(twins).detect(IMAGE), twins[0].detect(IMAGE))
    same(Ensemble(twins[::-1]).detect(IMAGE), twins[1].detect(IMAGE))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), count=st.integers(1, 30), tied=st.booleans())
def test_any_windows(seed, count, tied):
    boxes = windows(count, seed)
    members = [a_detector(seed), a_detector(seed if tied else seed + 1, 1)]
    config = replace_settings(members)
    found = Ensemble(members).candidates(IMAGE, Proposals(boxes))
    scores = np.concatenate([score(member, boxes) for member in members])
    expected = select_candidates(np.concatenate([boxes, boxes]), scores, config)
    assert np.array_equal(found.windows, expected.windows % count)
    assert np.array_equal(found.boxes, expected.boxes)
    assert np.array_equal(found.scores, expected.scores)
    moved = finish(found, found.regressed, SIZE, NAMES, config)
    assert len(moved) <= len(expected)


def score(member, boxes):
    return member.score(member.pool(IMAGE, boxes, Watch()), Watch()).scores


class Counting(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body, self.calls = body, 0

    def forward(self, x):
        self.calls += 1
        return self.body(x)


def test_fine_tunings_of_one_network_share_its_maps():
    members = [a_detector(1), a_detector(2), a_detector(3, 1)]
    alone = [member.detect(IMAGE) for member in members]
    for member in members:
        member.regions.trunk.digest()
        member.regions.trunk.body = Counting(member.regions.trunk.body)
    Ensemble(members).detect(IMAGE)
    assert [member.regions.trunk.body.calls for member in members] == [1, 0, 1]
    same(Ensemble(members[1:2]).detect(IMAGE), alone[1])
    members[1].regions.levels = (2, 1)  # other vectors of the same maps
    members[2].regions.scales = (48,)
    assert len(Ensemble(members).detect(IMAGE)) > 0
    assert [member.regions.trunk.body.calls for member in members] == [2, 1, 2]


def test_several_detectors_each_by_itself_share_what_they_have_in_common():
    members = [a_detector(1), a_detector(2, regressor=None), a_detector(3, 1)]
    alone = [member.candidates(IMAGE, Proposals(windows())) for member in members]
    for member in members:
        member.regions.trunk.digest()
        member.regions.trunk.body = Counting(member.regions.trunk.body)
    together = candidates_of_each(members, IMAGE, Proposals(windows()))
    assert [member.regions.trunk.body.calls for member in members] == [1, 0, 1]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.arrays().keys() == theirs.arrays().keys()
        assert all(np.array_equal(value, theirs.arrays()[name]) for name, value in ours.arrays().items())
    nothing = candidates_of_each(members, IMAGE, Proposals(np.zeros((0, 4), np.float32)))
    assert [len(each) for each in nothing] == [0, 0, 0]


def test_members_of_other_kinds():
    """A first look of its own, R-CNN's crops, no regressor: each is scored as it is alone."""
    looking, crops, still = a_detector(1), a_detector(2), a_detector(3, regressor=None)
    coarse = looking.regions.window_features(looking.regions.image_features(IMAGE), windows(), "pool5")[:, :6]
    looking.first_look = FirstLook((1,), 0.5, 5).fit(coarse, score(looking, windows()))
    crops.regions = RCNNRegions(crops.regions.trunk, crops.regions.head, LEVELS, 32, 4)
    for member in (looking, crops, still):
        same(Ensemble([member]).detect(IMAGE), member.detect(IMAGE))
    found = Ensemble([looking, crops, still]).candidates(IMAGE, Proposals(windows()))
    own = {float(value) for member in (looking, crops, still) for value in score(member, windows()).ravel()}
    assert {float(value) for value in found.scores} <= own
    assert Ensemble([still]).candidates(IMAGE, Proposals(windows())).regressed is None
    is_still = np.isin(found.scores, score(still, windows()))
    assert np.array_equal(found.regressed[is_still], found.boxes[is_still])
    assert not np.array_equal(found.regressed[~is_still], found.boxes[~is_still])


def test_no_windows_no_detections():
    together = Ensemble([a_detector(0), a_detector(1)], proposals=Fixed(np.zeros((0, 4), np.float32)))
    found = together.detect(IMAGE)
    assert len(found) == 0
    assert found.class_names == NAMES


def test_settings_of_its_own():
    members = [a_detector(0), a_detector(1)]
    found = Ensemble(members, DetectConfig(min_score=-5.0, max_per_class=1)).detect(IMAGE)
    assert np.bincount(found.labels).max() == 1
    assert len(Ensemble(members, DetectConfig(min_score=1e9)).detect(IMAGE)) == 0


def test_members_must_know_the_same_classes(tmp_path):
    with pytest.raises(ConfigError, match="member 1 of the ensemble has other classes"):
        Ensemble([a_detector(0), a_detector(1, class_names=("a", "c", "b"))])
    with pytest.raises(ConfigError, match="one member at least"):
        Detector.ensemble([])
    path = tmp_path / "one.toml"
    path.write_text('[data]\nroot = "x"\n')
    with pytest.raises(ConfigError, match=r"one\.toml: has no \[ensemble\]"):
        Ensemble.load(path)
    path.write_text('[data]\nroot = "x"\n[ensemble]\nruns = []\n')
    with pytest.raises(ConfigError, match=r"names no run.*ensemble\.runs"):
        Ensemble.load(path)


def test_candidates_are_checked():
    found = Ensemble([a_detector(0)]).candidates(IMAGE, Proposals(windows()))
    with pytest.raises(ValueError, match="scores has the shape"):
        replace(found, scores=found.scores[1:])
