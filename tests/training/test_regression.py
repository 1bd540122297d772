import tracemalloc

import numpy as np
import pytest
from reference.training import World, plain_iou
from sklearn.linear_model import Ridge

from spp_det.boxes import decode, encode, iou
from spp_det.structures import Proposals, empty_boxes
from spp_det.training import BoxRegressor, feature_norm
from spp_det.training.regression import whiten
from spp_det.training.ridge import solve_ridge

BIG = {"images": 60, "dim": 24}  # more examples than features in each class
FEW = {"images": 4, "dim": 300}  # fewer


def plain_fit(world: World, label: int, regularisation: float, min_overlap: float = 0.5, strict: bool = False):
    """The formulas of the release in float64, example by example."""
    scale = 20 / feature_norm(world, "pool5")
    rows, offsets = [], []
    for image in range(len(world)):
        windows, target = world.windows(image), world.targets[image]
        if not len(target):
            continue
        for box, vector in zip(windows.boxes, world.features(image, windows.boxes, "pool5"), strict=True):
            overlaps = [plain_iou(box, other) for other in target.boxes]
            best = int(np.argmax(overlaps))
            enough = overlaps[best] > min_overlap if strict else overlaps[best] >= min_overlap
            if target.labels[best] == label and enough:
                p, g = box.astype(float), target.boxes[best].astype(float)
                pw, ph, gw, gh = p[2] - p[0], p[3] - p[1], g[2] - g[0], g[3] - g[1]
                shift = [(g[0] + gw / 2 - p[0] - pw / 2) / pw, (g[1] + gh / 2 - p[1] - ph / 2) / ph]
                rows.append(np.append(vector.astype(float) * scale, 1.0))
                offsets.append([*shift, np.log(gw / pw), np.log(gh / ph)])
    x, y = np.array(rows), np.array(offsets)
    mean = y.mean(axis=0)
    values, vectors = np.linalg.eig((y - mean).T @ (y - mean) / len(y))
    there = vectors @ np.diag((values + 0.001) ** -0.5) @ vectors.T
    back = vectors @ np.diag((values + 0.001) ** 0.5) @ vectors.T
    ridge = Ridge(alpha=regularisation, fit_intercept=False, solver="svd").fit(x, (y - mean) @ there)
    return lambda features: np.c_[features * scale, np.ones(len(features))] @ ridge.coef_.T @ back + mean, len(x)


@pytest.mark.parametrize("size", [BIG, FEW])
@pytest.mark.parametrize("regularisation", [10.0, 1000.0, 4000.0])
def test_against_sklearn_and_the_formulas(size: dict, regularisation: float) -> None:
    world = World(**size, seed=1)
    regressor = BoxRegressor(regularisation).fit(world)
    features = world.features(0, world.windows(0).boxes, "pool5")
    for label in range(3):
        predict, count = plain_fit(world, label, regularisation)
        assert (count > size["dim"]) == (size is BIG)
        offsets = regressor.predict(features, np.full(len(features), label))
        np.testing.assert_allclose(offsets, predict(features), atol=1e-3)
        assert offsets.dtype == np.float32


def test_released_rule_is_strict() -> None:
    world = World(images=3, num_classes=1)
    truth = world.targets[0].boxes[0]
    half = truth.copy()
    half[2] = truth[0] + (truth[2] - truth[0]) / 2
    world.proposals[0] = Proposals(half[None])
    overlap = float(iou(half[None], truth[None])[0, 0])
    counts = [len(BoxRegressor(min_overlap=overlap, strict=strict).select(world)[0]) for strict in (False, True)]
    assert counts[0] == counts[1] + 1


def test_ground_truth_is_among_the_examples() -> None:
    world = World(images=6)
    examples = BoxRegressor().select(world)
    for label in range(3):
        zeros = (np.abs(examples[label].offsets) < 1e-6).all(axis=1)
        assert zeros.sum() >= sum((target.labels == label).sum() for target in world.targets)


def test_moves_boxes_towards_objects() -> None:
    world, fresh = World(images=80, dim=64), World(images=20, dim=64, seed=0)
    regressor = BoxRegressor(10.0).fit(world)
    before, after = [], []
    for image in range(len(fresh)):
        windows = fresh.windows(image)
        near = windows.best > 0.5
        boxes, labels, matched = windows.boxes[near], windows.labels[near], windows.matched[near]
        moved = regressor.apply(fresh.features(image, boxes, "pool5"), boxes, labels, (130, 130))
        before += iou(boxes, matched).diagonal().tolist()
        after += iou(moved, matched).diagonal().tolist()
    assert np.mean(after) > np.mean(before) + 0.05


def test_apply_by_hand() -> None:
    regressor = BoxRegressor.from_state(
        {
            "weights": np.array([[[0.1, 0, 0, 0], [0, 0, np.log(2) / 2, 0]], [[0] * 4, [0] * 4]], np.float32),
            "scale": np.array(2.0),
        }
    )
    boxes = np.array([[10, 10, 20, 30], [10, 10, 20, 30], [35, 35, 45, 45]], np.float32)
    features = np.array([[1.0], [1.0], [50.0]], np.float32)
    moved = regressor.apply(features, boxes, np.array([0, 1, 0]), (50, 50))
    # dx = 0.2 of the width 10, the width times sqrt(2): centre 17, half a width 7.071
    np.testing.assert_allclose(moved[0], [17 - 7.0711, 10, 17 + 7.0711, 30], atol=1e-3)
    np.testing.assert_array_equal(moved[1], boxes[1])  # a class without examples
    np.testing.assert_array_equal(moved[2], boxes[2])  # it would have left the image


def test_whitening_by_hand() -> None:
    offsets = np.array([[1, 0, 0, 0], [-1, 0, 0, 0], [0, 2, 0, 0], [0, -2, 0, 0]], np.float32) + np.float32(3)
    whitened, mean, unwhiten = whiten(offsets)
    np.testing.assert_allclose(mean, [3, 3, 3, 3])
    roots = np.sqrt(np.array([0.5, 2.0, 0, 0]) + 0.001)
    np.testing.assert_allclose(unwhiten, np.diag(roots), atol=1e-12)
    np.testing.assert_allclose(whitened, (offsets - 3) / roots, atol=1e-9)


def test_whitening_decorrelates_and_comes_back() -> None:
    rng = np.random.default_rng(0)
    offsets = (rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) + 1).astype(np.float32)
    whitened, mean, unwhiten = whiten(offsets)
    np.testing.assert_allclose(np.cov(whitened.T, bias=True), np.eye(4), atol=0.05)
    np.testing.assert_allclose(whitened @ unwhiten + mean, offsets, atol=1e-6)


@pytest.mark.parametrize("count", [1, 5, 40, 41, 5000])
def test_ridge_in_blocks(count: int) -> None:
    rng = np.random.default_rng(count)
    x = rng.normal(0, 1, (count, 40)).astype(np.float32)
    y = rng.normal(0, 1, (count, 4))
    blocks = np.split(x, np.sort(rng.integers(0, count + 1, 6)))
    expected = Ridge(alpha=7.0, fit_intercept=False, solver="svd").fit(x.astype(float), y).coef_
    np.testing.assert_allclose(solve_ridge(iter(blocks), y, 40, 7.0), np.reshape(expected, (4, 40)).T, atol=1e-4)


def test_memory_does_not_grow_with_the_examples() -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for count in (5_000, 40_000):
        targets = rng.normal(size=(count, 1))
        tracemalloc.start()
        solve_ridge((np.ones((100, 100), np.float32) for _ in range(count // 100)), targets, 100, 1.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 0.1 * 40_000 * 100 * 4


def test_class_without_examples_and_empty_images() -> None:
    world = World(images=6, absent=(2,))
    world.proposals[1] = Proposals(empty_boxes())
    regressor = BoxRegressor(10.0).fit(world)
    assert not regressor.weights_[2].any()
    assert regressor.weights_[0].any()
    nothing = BoxRegressor(10.0).fit(World(images=3, absent=(0, 1, 2)))
    assert not nothing.weights_.any()
    assert regressor.predict(np.zeros((0, 24), np.float32), np.zeros(0, np.int64)).shape == (0, 4)


def test_class_by_class_is_the_whole() -> None:
    world = World(images=10)
    stored: dict[int, np.ndarray] = {}
    whole = BoxRegressor(10.0).fit(world, stored)
    assert sorted(stored) == [0, 1, 2]
    assert BoxRegressor(10.0).fit_class(world, 1).tobytes() == whole.weights_[1].tobytes()
    known = {0: stored[0] + 1, 2: stored[2]}
    again = BoxRegressor(10.0).fit(world, known)
    assert again.weights_[0].tobytes() == known[0].tobytes()  # it was not learnt again
    assert known[1].tobytes() == whole.weights_[1].tobytes()
    known[0] = stored[0]
    again = BoxRegressor(10.0).fit(world, known)
    assert again.weights_.tobytes() == whole.weights_.tobytes()


def test_progress_counts_windows() -> None:
    world = World(images=10)
    seen: list[tuple[int, int]] = []
    regressor = BoxRegressor(10.0)
    regressor.fit(world, progress=lambda done, total: seen.append((done, total)))
    counts = sorted((len(each) for each in regressor.select(world)), reverse=True)  # the largest class first
    assert seen == [(int(total), sum(counts)) for total in np.cumsum(counts)]


def test_most_windows_per_class() -> None:
    world = World(images=30)
    all_of_them = BoxRegressor().select(world)
    some = BoxRegressor(max_windows_per_class=25).select(world)
    other = BoxRegressor(max_windows_per_class=25, seed=1).select(world)
    assert [len(each) for each in some] == [25, 25, 25]
    assert (some[0].boxes != other[0].boxes).any()
    for label in range(3):
        everything = {box.tobytes() for box in all_of_them[label].boxes}
        assert all(box.tobytes() in everything for box in some[label].boxes)
        assert (np.diff(some[label].images) >= 0).all()


def test_state_round_trip() -> None:
    world = World(images=10)
    regressor = BoxRegressor(10.0).fit(world)
    again = BoxRegressor.from_state(regressor.state(), regularisation=10.0)
    assert again.regularisation == 10.0
    boxes = world.windows(3).boxes
    features = world.features(3, boxes, "pool5")
    labels = np.arange(len(boxes)) % 3
    moved = regressor.apply(features, boxes, labels, (130, 130))
    np.testing.assert_array_equal(moved, again.apply(features, boxes, labels, (130, 130)))
    assert (moved[:, 2:] > moved[:, :2]).all()


def test_examples_point_at_their_objects() -> None:
    world = World(images=5)
    for label, examples in enumerate(BoxRegressor().select(world)):
        reached = decode(examples.boxes, examples.offsets)
        for image, box, offset, object_box in zip(
            examples.images, examples.boxes, examples.offsets, reached, strict=True
        ):
            target = world.targets[image]
            objects = target.boxes[target.labels == label]
            nearest = objects[np.abs(objects - object_box).max(axis=1).argmin()]
            np.testing.assert_allclose(nearest, object_box, atol=1e-3)
            np.testing.assert_allclose(encode(box[None], nearest[None])[0], offset, atol=1e-5)
