import numpy as np
import pytest
from reference.training import plain_iou, random_boxes

from spp_det.structures import Proposals, Target, empty_boxes
from spp_det.training import make_windows

NO_TARGET = Target(empty_boxes(), [], [])


def make(seed: int, difficult: float = 0.3) -> tuple[Target, Proposals]:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    target = Target(random_boxes(rng, count), rng.integers(0, 4, count), rng.random(count) < difficult)
    near = target.boxes + rng.uniform(0, 3, target.boxes.shape).astype(np.float32)
    return target, Proposals(np.concatenate([near, random_boxes(rng, 20)]))


@pytest.mark.parametrize("use_difficult", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_against_a_plain_loop(seed: int, use_difficult: bool) -> None:
    target, proposals = make(seed)
    windows = make_windows(target, proposals, 4, use_difficult)
    objects = [i for i in range(len(target)) if use_difficult or not target.difficult[i]]
    assert len(windows) == len(objects) + len(proposals)
    np.testing.assert_array_equal(windows.boxes, np.concatenate([target.boxes[objects], proposals.boxes]))
    np.testing.assert_array_equal(windows.is_truth, [True] * len(objects) + [False] * len(proposals))
    for row, box in enumerate(windows.boxes):
        best = 0.0
        for label in range(4):
            of_class = [plain_iou(box, target.boxes[i]) for i in objects if target.labels[i] == label]
            assert windows.overlaps[row, label] == pytest.approx(max(of_class, default=0.0), abs=1e-5)
            best = max([best, *of_class])
        assert windows.best[row] == pytest.approx(best, abs=1e-5)
        if best > 0:
            assert windows.overlaps[row, windows.labels[row]] == windows.best[row]
            assert plain_iou(box, windows.matched[row]) == pytest.approx(best, abs=1e-5)
        else:
            np.testing.assert_array_equal(windows.matched[row], box)
    assert windows.overlaps.dtype == windows.matched.dtype == windows.boxes.dtype == np.float32
    assert windows.labels.dtype == np.int64


def test_excluded_difficult_objects_are_absent() -> None:
    target = Target([[0, 0, 10, 10]], [1], [True])
    windows = make_windows(target, Proposals([[0, 0, 10, 10]]), 2)
    assert len(windows) == 1
    assert not windows.is_truth.any()
    assert not windows.overlaps.any()
    assert make_windows(target, Proposals([[0, 0, 10, 10]]), 2, use_difficult=True).overlaps[:, 1].tolist() == [1, 1]


def test_objects_that_share_a_box_keep_their_classes() -> None:
    target = Target([[0, 0, 10, 10], [0, 0, 10, 10]], [2, 1], [False, False])
    assert make_windows(target, Proposals(empty_boxes()), 3).labels.tolist() == [2, 1]


def test_nothing_at_all() -> None:
    windows = make_windows(NO_TARGET, Proposals(empty_boxes()), 3)
    assert windows.overlaps.shape == (0, 3)
    assert windows.best.shape == (0,)


def test_unknown_label() -> None:
    with pytest.raises(ValueError, match="label 3 where there are 3 classes"):
        make_windows(Target([[0, 0, 1, 1]], [3], [False]), Proposals(empty_boxes()), 3)
