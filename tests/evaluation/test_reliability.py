from __future__ import annotations

import numpy as np
import pytest

from spp_det.evaluation.reliability import judged, plot_reliability, reliability
from spp_det.images import read_image
from spp_det.structures import Detections, Target


def test_by_hand():
    chances = np.array([0.05, 0.95, 0.95, 1.0])
    right = np.array([False, True, False, True])
    result = reliability(chances, right, least=0)
    assert [(row["from"], row["count"]) for row in result["bins"]] == [(0.0, 1), (0.9, 3)]
    assert result["bins"][1]["right"] == pytest.approx(2 / 3)
    assert result["error"] == pytest.approx((0.05 + 3 * (2.9 / 3 - 2 / 3)) / 4)
    likely = reliability(chances, right)
    assert (likely["count"], likely["bins"]) == (3, result["bins"][1:])
    assert np.isnan(reliability(np.zeros(0), np.zeros(0, bool))["error"])


def test_what_counts():
    target = Target([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0], [False, True])
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [50, 50, 60, 60]]
    found = Detections(boxes, [3, 2, 1, 0], [0, 0, 0, 1], ("a", "b"))
    scores, labels, right = judged({"x": target}, {"x": found})
    assert (scores.tolist(), labels.tolist(), right.tolist()) == ([3, 2, 0], [0, 0, 1], [True, False, False])
    assert len(judged({}, {})[0]) == 0


def test_the_picture_can_be_looked_at(tmp_path):
    rng = np.random.default_rng(0)
    chances = rng.random(500)
    plot_reliability(reliability(chances, rng.random(500) < chances), tmp_path / "a" / "plot.png")
    assert read_image(tmp_path / "a" / "plot.png").std() > 5
