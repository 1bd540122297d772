"""Probabilities: Platt's sigmoids against their definition, and what a calibrated detector gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from spp_det.detection.calibration import LEAST, Calibration, fit_sigmoid
from spp_det.structures import Detections


def drawn(count, slope, offset, seed=0):
    """Scores, and whether each is right, by a known sigmoid."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1, count).astype(np.float32)
    return scores, rng.random(count) < 1 / (1 + np.exp(slope * scores + offset))


def test_a_known_sigmoid_is_found():
    assert fit_sigmoid(*drawn(40_000, -3.0, 0.7)) == pytest.approx([-3.0, 0.7], abs=0.1)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.sampled_from([0.01, 1.0, 50.0]))
def test_it_is_the_most_likely_one(seed, count, spread):
    rng = np.random.default_rng(seed)
    scores, right = rng.normal(0, spread, count), rng.random(count) < 0.5
    right[:2] = True, False
    good, bad = right.sum(), (~right).sum()
    targets = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))

    def loss(ab):
        exponents = ab[0] * scores + ab[1]
        return float((targets * np.logaddexp(0, exponents) + (1 - targets) * np.logaddexp(0, -exponents)).sum())

    plain = minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-12})
    assert loss(fit_sigmoid(scores, right)) <= plain.fun + 1e-5 * count


def test_separable_scores_stay_finite():
    scores, right = np.array([-2, -1, 1, 2], np.float32), np.array([False, False, True, True])
    calibration = Calibration().fit(scores, np.zeros(4, np.int64), right, 1)
    chances = calibration.probabilities(np.array([-1e6, 0, 1e6], np.float32), np.zeros(3, np.int64))
    assert np.isfinite(calibration.shared_).all()
    assert chances == pytest.approx([0, 0.5, 1])


def test_a_class_of_too_few_takes_the_sigmoid_of_all():
    scores, right = drawn(4000, -2.0, 0.0)
    labels = np.zeros(4000, np.int64)
    labels[: LEAST - 1] = 1
    calibration = Calibration().fit(scores, labels, right, 3)
    assert calibration.sigmoids_[1].tolist() == calibration.sigmoids_[2].tolist() == calibration.shared_.tolist()
    assert calibration.sigmoids_[0].tolist() != calibration.shared_.tolist()


def test_a_class_whose_better_scores_are_worse_takes_it_too():
    scores, right = drawn(4000, -2.0, 0.0)
    labels = (np.arange(4000) < 100).astype(np.int64)
    right[:100] = scores[:100] < 0
    calibration = Calibration().fit(scores, labels, right, 2)
    assert calibration.sigmoids_[1].tolist() == calibration.shared_.tolist()


def test_it_needs_both_kinds():
    with pytest.raises(ValueError, match="right, and some that are wrong"):
        Calibration().fit(np.zeros(3, np.float32), np.zeros(3, np.int64), np.ones(3, bool), 1)
    with pytest.raises(ValueError, match="right, and some that are wrong"):
        Calibration().fit(np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, bool), 1)


def test_storing_and_changing_classes():
    calibration = Calibration().fit(*_of_two_classes(), 2)
    again = Calibration.from_state(calibration.state())
    assert again.sigmoids_.tobytes() == calibration.sigmoids_.tobytes()
    more = again.with_class(2)
    assert more.sigmoids_[:2].tobytes() == calibration.sigmoids_.tobytes()
    assert more.sigmoids_[2].tolist() == calibration.shared_.tolist()
    assert more.select(np.array([False, True, True])).sigmoids_.tolist() == more.sigmoids_[1:].tolist()


def _of_two_classes():
    scores, right = drawn(2000, -2.0, 0.5)
    return scores, np.arange(2000) % 2, right


def test_detections_with_probabilities():
    boxes = np.array([[0, 0, 5, 5], [0, 0, 9, 9]], np.float32)
    plain = Detections(boxes, [0.5, -0.5], [0, 0], ("cat",))
    assert plain.probabilities is None
    assert plain[:1].probabilities is None
    with pytest.raises(ValueError, match="not calibrated"):
        plain.likely(0.5)
    found = Detections(boxes, [0.5, -0.5], [0, 0], ("cat",), [0.9, 0.2])
    assert found.likely(0.5).scores.tolist() == [0.5]
    assert found[found.scores < 0].probabilities.tolist() == pytest.approx([0.2])
    with pytest.raises(ValueError, match="probability lies outside"):
        Detections(boxes, [0.5, -0.5], [0, 0], ("cat",), [1.1, 0.2])
    with pytest.raises(ValueError, match="probabilities has the shape"):
        Detections(boxes, [0.5, -0.5], [0, 0], ("cat",), [0.2])
