"""SVMs on standardised vectors, against what they stand for written out."""

from __future__ import annotations

import numpy as np
import pytest
from reference.training import World

from spp_det.errors import SppDetError
from spp_det.training import LinearSVMs, Moments, StandardisedSource, SvmSettings, train_svms

SETTINGS = SvmSettings(C=0.1, positive_weight=3.0, retrain_after=40)


class Uneven(World):
    """Vectors with a large common mean and deviations far from each other."""

    def features(self, index, boxes, layer):
        found = super().features(index, boxes, layer)
        return (found * np.geomspace(0.5, 8, found.shape[1]) + 20).astype(np.float32)


def moments_of(source: World, seed: int = 0) -> Moments:
    return Moments.draw(source, "pool5", seed)


def test_the_moments_are_those_of_the_windows() -> None:
    source = Uneven(images=10)
    moments = moments_of(source)
    everything = np.concatenate([source.features(i, source.windows(i).boxes, "pool5") for i in range(10)])
    np.testing.assert_allclose(moments.mean, everything.mean(0), rtol=0.05)
    assert moments.norm == pytest.approx(np.linalg.norm(everything, axis=1).mean(), rel=0.05)
    typical = np.sqrt(everything.var(0).mean())
    common = everything.std(0) > typical / 2
    np.testing.assert_allclose(moments.deviation[common], everything.std(0)[common], rtol=0.2)
    assert moments.deviation.min() > typical / 15  # what few windows have is not blown up
    assert np.array_equal(moments_of(source).mean, moments.mean)
    with pytest.raises(SppDetError, match="have no window"):
        moments_of(World(images=0))


def test_the_svms_say_of_plain_vectors_what_they_learnt_of_standardised_ones() -> None:
    source = Uneven()
    moments = moments_of(source)
    plain, _ = train_svms(StandardisedSource(source, moments), "pool5", SETTINGS)
    vectors = source.features(0, source.windows(0).boxes, "pool5")
    by_hand = (vectors.astype(np.float64) - moments.mean) / moments.deviation
    expected = by_hand @ plain.coef_.T * plain.scale_ + plain.intercept_
    folded = moments.fold(plain)
    np.testing.assert_allclose(folded.decision_function(vectors), expected, atol=2e-4)
    np.testing.assert_allclose(moments.standardise(vectors.copy()), by_hand, atol=1e-4)
    assert folded.scale_ == pytest.approx(SETTINGS.target_norm / moments.norm)
    again = LinearSVMs.from_state(folded.state())
    assert np.array_equal(again.decision_function(vectors), folded.decision_function(vectors))


def test_a_class_that_cannot_be_learnt_stays_out() -> None:
    source = Uneven(absent=(1,))
    moments = moments_of(source)
    svms, _ = train_svms(StandardisedSource(source, moments), "pool5", SETTINGS)
    scores = moments.fold(svms).decision_function(source.features(0, source.windows(0).boxes, "pool5"))
    assert (scores[:, 1] < -1e5).all()
    assert (scores[:, 0] > -1e3).all()
