"""The comparison with R-CNN at its best: the figures fit together. No time itself is asserted."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from spp_det.detection import Detector
from spp_det.detection.first_look import FirstLook
from spp_det.evaluation import detect_speed as speed
from spp_det.evaluation.floors import floors, measure_peaks
from spp_det.files import write_json
from spp_det.networks import FcHead, Preprocessing, Trunk, compress_head
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Proposals
from spp_det.training import BoxRegressor, LinearSVMs

NAMES = ("cat", "dog")
BOXES = np.array([[0, 0, 30, 20], [5, 5, 60, 40], [20, 0, 64, 48]], np.float32)


class FixedProposals:
    def propose(self, image, image_id):
        return Proposals(BOXES)


def parts(length):
    svms, regressor = LinearSVMs(), BoxRegressor()
    svms.coef_, svms.intercept_, svms.scale_ = np.ones((2, 8), np.float32), np.zeros(2, np.float32), 1.0
    regressor.weights_, regressor.scale_ = np.zeros((2, length + 1, 4), np.float32), 1.0
    return svms, regressor


@pytest.fixture
def detectors():
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4, padding=1), torch.nn.ReLU())
    preprocessing = Preprocessing((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    trunk = Trunk(body, name="tiny", out_channels=4, stride=4, offset=0.0, preprocessing=preprocessing)
    head = FcHead(4 * 5, (8, 8), 2)
    thin = compress_head(head, 3)
    spp, small = (SPPRegions(trunk, each, scales=(48,), levels=(1, 2)) for each in (head, thin))
    rcnn = RCNNRegions(trunk, head, levels=(1, 2), crop_size=32, context=4)
    look = FirstLook(levels=(1,), keep=0.5, min_windows=1)
    look.hidden_coef_, look.hidden_intercept_ = np.ones((3, 4), np.float32), np.zeros(3, np.float32)
    look.coef_, look.intercept_ = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    proposals = FixedProposals()
    return (
        Detector(proposals, spp, *parts(20), NAMES),
        Detector(proposals, small, *parts(3), NAMES, regression_layer="code6", first_look=look),
        Detector(proposals, rcnn, *parts(20), NAMES),
    )


@pytest.fixture
def result(detectors):
    rng = np.random.default_rng(0)
    images = [(f"{i:06}", rng.integers(0, 256, (48, 64, 3), np.uint8)) for i in range(2)]
    return speed.compare(images, detectors, 10, peer_proposals=lambda image: 2.0)


def test_the_figures_fit_together(result):
    assert list(result["rows"]) == ["dense, float32", "dense, bfloat16", "compressed, float32", "compressed, bfloat16"]
    theirs = result["rcnn"]
    for name, row in result["rows"].items():
        stages = ("maps_s", "pooling_s", "fc_s", "rest_s", *(["first_look_s"] if "compressed" in name else []))
        assert row["without_proposals_s"] == pytest.approx(sum(row[stage] for stage in stages))
        assert row["total_s"] == pytest.approx(row["without_proposals_s"] + row["proposals_s"])
        assert row["speedup"] == pytest.approx(theirs["without_proposals_s"] / row["without_proposals_s"])
        assert row["speedup_with_proposals"] == pytest.approx(theirs["total_s"] / row["total_s"])
        same = result["rcnn_by_precision"][name.split(", ")[1]]
        assert row["speedup_same_precision"] == pytest.approx(same["without_proposals_s"] / row["without_proposals_s"])
        with_theirs = (theirs["without_proposals_s"] + 2.0) / row["total_s"]
        assert row["speedup_with_peer_proposals"] == pytest.approx(with_theirs)
    best = result["rows"][result["best"]]
    assert result["speedup"] == best["speedup"] == max(row["speedup"] for row in result["rows"].values())
    assert result["speedup_with_proposals"] == best["speedup_with_proposals"]
    assert (result["windows"], result["images"]) == (10, 2)


def test_rcnn_may_be_timed_on_fewer_images(detectors):
    images = [(f"{i:06}", np.zeros((48, 64, 3), np.uint8)) for i in range(2)]
    seen = []
    rcnn = detectors[2].regions
    whole = rcnn.live_features
    rcnn.live_features = lambda image: seen.append(id(image)) or whole(image)
    result = speed.compare(images, detectors, 10, rcnn_images=1, tried_windows=4)
    assert (result["images"], result["rcnn_images"]) == (2, 1)
    assert set(seen) == {id(images[0][1])}
    assert "R-CNN: of 1" in speed.comparison_table(result).title


def test_floors_count_what_must_be_done(detectors):
    dense, small, _ = detectors
    image, peaks = np.zeros((48, 64, 3), np.uint8), {"float32": 10.0, "copy": 5.0}
    of_dense, of_small = (floors(each, image, BOXES, peaks) for each in (dense, small))
    assert of_dense["maps_s"] == pytest.approx(2 * 12 * 16 * 4 * 27 / 10)  # a map of 12 x 16, 4 channels, 3 x 3 x 3
    assert of_dense["fc_s"] == pytest.approx(2 * 3 * (20 * 8 + 8 * 8) / 10)
    assert of_dense["pooling_s"] == pytest.approx(4 * 3 * 20 / 5)
    assert of_small["fc_s"] == pytest.approx(2 * 2 * (20 * 3 + 3 * 8 + 8 * 3 + 3 * 8) / 10)  # 2 of 3 windows stay
    assert set(measure_peaks(1)) == {"float32", "bfloat16", "copy"}


def test_rcnn_gets_the_fastest_of_what_was_tried(result):
    rcnn = result["rcnn"]
    assert len(rcnn["tried"]) == len(speed.DTYPES) * len(speed.FORMATS) * len(speed.BATCHES)
    chosen = f"{rcnn['precision']}, {rcnn['memory_format']}, {rcnn['batch_size']}"
    assert rcnn["tried"][chosen] == min(
        seconds for name, seconds in rcnn["tried"].items() if name.startswith(rcnn["precision"])
    )
    assert rcnn["without_proposals_s"] == min(
        of_side["without_proposals_s"] for of_side in result["rcnn_by_precision"].values()
    )


def test_a_precision_is_a_copy(detectors):
    dense, _, rcnn = detectors
    for detector in (dense, rcnn):
        changed = speed.in_precision(detector, torch.bfloat16)
        assert changed.regions.trunk.dtype is changed.regions.head.fc8.weight.dtype is torch.bfloat16
        assert detector.regions.trunk.dtype is torch.float32


def test_the_table_shows_every_side(result, tmp_path):
    write_json(tmp_path / "metrics.json", {"voc07": {"map": 0.625}})
    speed.with_maps(result, tmp_path, tmp_path / "none")
    text = io.StringIO()
    Console(file=text, width=140).print(speed.comparison_table(result))
    for word in ("dense", "compressed", "R-CNN", "float32", "first look", "without proposals", "62.5"):
        assert word in text.getvalue()


@pytest.mark.parametrize("width", [None, (30, 20)])
def test_untrained_detectors_run(width):
    untrained = speed.Untrained("efficientnet_lite0", scales=(64,), ranks=(6, 5), keep=0.5, width=width)
    image = np.zeros((48, 64, 3), np.uint8)
    image[10:30, 20:50] = 200
    for detector in untrained.detectors():
        assert len(detector.candidates(image, Proposals(BOXES))) > 0
