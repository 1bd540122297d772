"""Timing: what is timed is what a detector does, and the table adds up. No time itself is asserted."""

from __future__ import annotations

import io

import cv2
import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from spp_det.config import DetectConfig
from spp_det.detection import Detector
from spp_det.evaluation.timing import fill_windows, thread_limit, time_detectors, timing_table
from spp_det.networks import FcHead, Preprocessing, Trunk
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Proposals, check_boxes, empty_boxes
from spp_det.watch import Watch

NAMES = ("cat", "dog")
STAGES = ["proposals_s", "maps_s", "pooling_s", "fc_s", "rest_s", "total_s"]
BOXES = np.array([[0, 0, 30, 20], [5, 5, 60, 40], [20, 0, 64, 48]], np.float32)


class FixedProposals:
    def __init__(self, boxes=BOXES):
        self.boxes, self.asked = boxes, []

    def propose(self, image, image_id):
        self.asked.append(image_id)
        return Proposals(self.boxes)


class RecordingSVMs:
    def __init__(self):
        self.seen = []

    def decision_function(self, features):
        self.seen.append(features.copy())
        return features[:, :2]


class StayingRegressor:
    def apply(self, features, boxes, labels, size, rows):
        return boxes


@pytest.fixture
def parts():
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4, padding=1), torch.nn.ReLU())
    preprocessing = Preprocessing((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    trunk = Trunk(body, name="tiny", out_channels=4, stride=4, offset=0.0, preprocessing=preprocessing)
    head = FcHead(4 * 5, (8, 8), 2)
    spp = SPPRegions(trunk, head, scales=(48,), levels=(1, 2))
    rcnn = RCNNRegions(trunk, head, levels=(1, 2), crop_size=32, context=4, batch_size=4)
    return spp, rcnn


def detectors(parts, boxes=BOXES):
    proposals, config = FixedProposals(boxes), DetectConfig(min_score=-1000.0)
    return tuple(
        Detector(proposals, regions, RecordingSVMs(), StayingRegressor(), NAMES, settings=config) for regions in parts
    )


def images(count):
    rng = np.random.default_rng(0)
    return [(f"{i:06}", rng.integers(0, 256, (48, 64, 3), np.uint8)) for i in range(count)]


def test_the_result_adds_up(parts):
    progress = []
    spp, rcnn = detectors(parts)
    result = time_detectors(images(3), spp, rcnn, 10, repeats=2, progress=lambda *at: progress.append(at))
    for side in ("spp", "rcnn"):
        assert list(result[side]) == STAGES
        assert min(result[side].values()) >= 0
        assert result[side]["total_s"] == pytest.approx(sum(result[side][stage] for stage in STAGES[:-1]))
    assert result["spp"]["proposals_s"] == result["rcnn"]["proposals_s"]
    without = [result[side]["total_s"] - result[side]["proposals_s"] for side in ("spp", "rcnn")]
    assert result["speedup"] == pytest.approx(without[1] / without[0])
    assert result["speedup_with_proposals"] == pytest.approx(result["rcnn"]["total_s"] / result["spp"]["total_s"])
    assert (result["windows"], result["images"], result["threads"]) == (10, 3, torch.get_num_threads())
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_what_is_timed_is_what_the_detectors_do(parts):
    """The vectors that reach the SVMs while timing are those of `detect` on the same windows."""
    spp, rcnn = detectors(parts)
    photographs = images(2)
    time_detectors(photographs, spp, rcnn, 10)
    for detector in (spp, rcnn):
        _, *timed = detector.svms.seen  # the first warmed up
        detector.svms.seen.clear()
        for _, image in photographs:
            detector.detect(image, Proposals(fill_windows(BOXES, (48, 64), 10)))
        for ours, theirs in zip(timed, detector.svms.seen, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)


def test_works_without_proposals(parts):
    assert time_detectors(images(1), *detectors(parts, empty_boxes()), 5)["windows"] == 5


def test_the_table_shows_every_stage(parts):
    text = io.StringIO()
    Console(file=text, width=100).print(timing_table(time_detectors(images(1), *detectors(parts), 5)))
    for word in ("maps or crops", "pooling", "fc6, fc7", "the rest", "without proposals", "total", "5 windows"):
        assert word in text.getvalue()


def test_a_watch_adds_up_its_stages():
    watch = Watch()
    for _ in range(3):
        with watch.stage("maps_s"):
            pass
    assert list(watch.seconds) == ["maps_s"]
    assert watch.seconds["maps_s"] > 0


def test_threads_are_put_back():
    before = numba.get_num_threads(), torch.get_num_threads(), cv2.getNumThreads()
    with thread_limit(1) as used:
        assert used == 1
        assert (numba.get_num_threads(), torch.get_num_threads()) == (1, 1)
    assert (numba.get_num_threads(), torch.get_num_threads(), cv2.getNumThreads()) == before
    with pytest.raises(ValueError, match="number of threads"), thread_limit(100_000):
        pass
    assert (numba.get_num_threads(), torch.get_num_threads(), cv2.getNumThreads()) == before


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(1, 40))
def test_fill_windows(seed, have, count):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
    low = rng.random((have, 2)) * [size[1], size[0]] * 0.9
    boxes = np.concatenate([low, low + rng.uniform(0.02, 1, (have, 2)) * ([size[1], size[0]] - low)], axis=1)
    boxes = boxes.astype(np.float32)
    filled = check_boxes(fill_windows(boxes, size, count))
    assert filled.shape == (count, 4)
    assert np.array_equal(filled[:have], boxes[:count])
    assert (filled[:, [0, 2]].max(), filled[:, [1, 3]].max()) <= (size[1], size[0])
    assert np.array_equal(filled, fill_windows(boxes, size, count))


def test_arguments_that_do_not_fit(parts):
    spp, rcnn = detectors(parts)
    with pytest.raises(ValueError, match="at least"):
        time_detectors([], spp, rcnn)
    with pytest.raises(ValueError, match="at least"):
        time_detectors(images(1), spp, rcnn, repeats=0)
    with pytest.raises(ValueError, match="RCNNRegions stand where SPPRegions belong"):
        time_detectors(images(1), rcnn, spp, 5)
