import numpy as np
import pytest
from reference.training import World, plain_hinge_svm
from sklearn.svm import LinearSVC

from spp_det.errors import SppDetError
from spp_det.training import LinearSVMs, feature_norm
from spp_det.training.svm import NO_SVM, Hyperplane


def blobs(seed: int, count: int = 60, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(count) < 0.3
    features = rng.normal(0, 4, (count, dim)) + np.where(positive, 3.0, -1.0)[:, None]
    return features.astype(np.float32), positive


def plain_objective(svms: LinearSVMs, w: np.ndarray, b: float, features: np.ndarray, positive: np.ndarray) -> float:
    total = 0.5 * sum(value * value for value in w) + 0.5 * (b / svms.bias) ** 2
    for x, is_positive in zip(features.astype(float), positive, strict=True):
        weight, side = (svms.positive_weight, 1) if is_positive else (1.0, -1)
        total += svms.C * weight * max(0.0, 1 - side * (float(w @ x) + b))
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cost", [0.001, 0.1])
def test_reaches_the_objective_of_a_plain_solver(seed: int, cost: float) -> None:
    features, positive = blobs(seed)
    svms = LinearSVMs(C=cost)
    plane = svms.fit_one(features, positive)
    w, b = plain_hinge_svm(features, positive, cost, 2.0, 10.0)
    least = plain_objective(svms, w, b, features, positive)
    ours = plain_objective(svms, plane.weights.astype(float), plane.intercept, features, positive)
    assert svms.objective(plane, features, positive) == pytest.approx(ours, rel=1e-5)
    assert least <= ours * (1 + 1e-6)
    assert ours <= least * 1.02
    tight = LinearSVMs(C=cost, tol=1e-6, max_iter=100_000).fit_one(features, positive)
    np.testing.assert_allclose(tight.weights, w, atol=1e-3)
    assert tight.intercept == pytest.approx(b, abs=1e-3)


@pytest.mark.parametrize("dim", [8, 300])
def test_is_liblinear(dim: int) -> None:
    features, positive = blobs(3, count=200, dim=dim)
    svc = LinearSVC(C=0.001, class_weight={1: 2, -1: 1}, intercept_scaling=10, loss="hinge", dual=True, tol=1e-7)
    svc.set_params(max_iter=1_000_000, random_state=0).fit(features, np.where(positive, 1, -1))
    plane = LinearSVMs(tol=1e-6, max_iter=100_000).fit_one(features, positive)
    np.testing.assert_allclose(plane.weights, svc.coef_[0], atol=2e-5)
    assert plane.intercept == pytest.approx(svc.intercept_[0], abs=1e-4)
    loose = LinearSVMs()
    best = loose.objective(plane, features, positive)
    assert best <= loose.objective(loose.fit_one(features, positive), features, positive) <= 1.02 * best


def test_begins_where_it_ended() -> None:
    features, positive = blobs(5, count=200)
    svms = LinearSVMs(C=0.1, tol=1e-5, max_iter=100_000)
    duals = np.zeros(200)
    first = svms.fit_one(features, positive, duals)
    assert ((duals >= 0) & (duals <= np.where(positive, 0.2, 0.1))).all()
    # The hyperplane is the sum of the examples by their dual variables.
    np.testing.assert_allclose(first.weights, (duals * np.where(positive, 1, -1)) @ features, atol=1e-5)
    again = LinearSVMs(C=0.1, tol=1e-3, max_iter=1).fit_one(features, positive, duals)
    assert again.converged
    np.testing.assert_allclose(again.weights, first.weights, atol=1e-3)
    assert not LinearSVMs(C=0.1, tol=1e-3, max_iter=1).fit_one(features, positive).converged


def test_without_positives_or_without_negatives() -> None:
    features, _ = blobs(0)
    none = LinearSVMs().fit_one(features, np.zeros(60, bool))
    assert none.intercept == NO_SVM
    assert not none.weights.any()
    assert (LinearSVMs().fit_one(features, np.ones(60, bool)).scores(features) == 1).all()


def test_says_when_it_did_not_converge() -> None:
    features, positive = blobs(1)
    assert LinearSVMs().fit_one(features, positive).converged
    assert not LinearSVMs(C=10.0, tol=1e-9, max_iter=2).fit_one(features, positive).converged


def test_fit_scales_and_decides() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, 300)
    features = (rng.normal(0, 1, (300, 8)) + 3 * np.eye(8)[labels]).astype(np.float32)
    svms = LinearSVMs(C=0.1).fit(features, labels, 3)
    assert np.linalg.norm(features * svms.scale_, axis=1).mean() == pytest.approx(20, rel=1e-5)
    scores = svms.decision_function(features)
    assert scores.dtype == np.float32
    assert scores.shape == (300, 3)
    for label in range(3):
        plain = [float(svms.coef_[label].astype(float) @ (x * svms.scale_)) + svms.intercept_[label] for x in features]
        np.testing.assert_allclose(scores[:, label], plain, atol=1e-4)
        assert ((scores[:, label] > 0) == (labels == label)).mean() > 0.9


def test_state_round_trip() -> None:
    features, positive = blobs(0)
    svms = LinearSVMs(C=0.01, seed=7).fit(features, np.where(positive, 0, -1), 2)
    again = LinearSVMs.from_state(svms.state())
    assert again.C == 0.01
    assert (again.seed, again.max_iter) == (7, 1000)
    np.testing.assert_array_equal(again.decision_function(features), svms.decision_function(features))
    assert (svms.decision_function(features)[:, 1] == NO_SVM).all()


def test_objective_of_a_hand_worked_case() -> None:
    svms = LinearSVMs(C=0.5)
    plane = Hyperplane(np.array([1.0, 0.0], np.float32), 0.5)
    features = np.array([[0.0, 0.0], [2.0, 0.0], [-2.0, 1.0]], np.float32)  # margins 0.5, 2.5, -1.5
    # 0.5 + 0.5 * 0.05^2 + 0.5 * (2 * 0.5 for the positive, 3.5 and 0 for the negatives)
    expected = 0.5 + 0.00125 + 0.5 * (1.0 + 3.5)
    assert svms.objective(plane, features, np.array([True, False, False])) == pytest.approx(expected)


def test_feature_norm() -> None:
    world = World(images=5)
    norms = [np.linalg.norm(world.features(i, world.windows(i).boxes, "fc7"), axis=1) for i in range(5)]
    assert feature_norm(world, "fc7") == pytest.approx(float(np.concatenate(norms).mean()), rel=1e-5)
    part = feature_norm(world, "fc7", seed=1, max_images=2, max_boxes=10)
    assert part == feature_norm(world, "fc7", seed=1, max_images=2, max_boxes=10)
    assert part != feature_norm(world, "fc7", seed=2, max_images=2, max_boxes=10)


def test_feature_norm_of_nothing() -> None:
    with pytest.raises(SppDetError, match="no window, or all features of fc7 are zero"):
        feature_norm(World(images=0), "fc7")
