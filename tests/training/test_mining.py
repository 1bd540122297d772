import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference.training import World, plain_iou, plain_mining

from spp_det.errors import DataError, SppDetError
from spp_det.structures import Proposals, Target, empty_boxes
from spp_det.training import LinearSVMs, SvmSettings, feature_norm, train_svms
from spp_det.training.svm import NO_SVM

QUICK = SvmSettings(C=0.01, retrain_after=30)


class Cells(World):
    """A world whose windows pool the same cells where their corners lie in the same squares of 16 pixels."""

    def cell_ids(self, index: int, boxes: np.ndarray) -> np.ndarray:
        squares = (boxes // 16).astype(np.int64)
        return np.unique(squares, axis=0, return_inverse=True)[1].reshape(-1)


def compare(world: World, settings: SvmSettings, cells: dict | None = None) -> list[dict]:
    svms, log = train_svms(world, "fc7", settings)
    plain = LinearSVMs(C=settings.C)
    plain.scale_ = 20 / feature_norm(world, "fc7")
    assert svms.scale_ == plain.scale_
    planes, events = plain_mining(world, plain, settings, cells)
    told = [e for e in log if e["event"] == "train"]
    keys = ("image", "class", "positives", "negatives", "added", "evicted")
    assert [tuple(e[k] for k in keys) for e in told] == events
    for label, plane in enumerate(planes):
        if plane is not None:
            np.testing.assert_allclose(svms.coef_[label], plane.weights, rtol=1e-4, atol=1e-6)
            assert svms.intercept_[label] == pytest.approx(plane.intercept, rel=1e-4)
    return told


@pytest.mark.parametrize("seed", range(4))
def test_against_a_plain_loop(seed: int) -> None:
    told = compare(World(seed=seed), QUICK)
    assert len(told) > 2 * 3  # some class was trained between the first and the last image
    assert any(e["evicted"] for e in told)


@pytest.mark.parametrize("seed", range(2))
def test_two_passes_take_no_window_twice(seed: int) -> None:
    compare(World(seed=seed), replace(QUICK, passes=2))


def test_released_rule_with_cells_and_without() -> None:
    settings = replace(QUICK, near_duplicates="released")
    coarse = Cells(seed=1)
    cells = {i: coarse.cell_ids(i, coarse.windows(i).boxes).tolist() for i in range(len(coarse))}
    assert any(len(set(numbers)) < len(numbers) for numbers in cells.values())
    fewer = compare(coarse, settings, cells)
    plain = World(seed=1)
    more = compare(plain, settings, {i: list(range(len(plain.windows(i)))) for i in range(len(plain))})
    assert sum(e["added"] for e in fewer) < sum(e["added"] for e in more)


def test_paper_rule_keeps_apart() -> None:
    world = World(images=1, seed=2)
    counts = {}
    for rule in ("paper", "released"):
        _, log = train_svms(world, "fc7", replace(QUICK, near_duplicates=rule))
        counts[rule] = {e["class"]: e["negatives"] for e in log if e["event"] == "train"}
    windows = world.windows(0)
    for label, count in counts["paper"].items():
        negative = [i for i in range(len(windows)) if windows.overlaps[i, label] < 0.3]
        assert counts["released"][label] == len(negative)
        kept: list[int] = []
        for window in negative:  # the first image has no scores: list order
            if all(plain_iou(windows.boxes[window], windows.boxes[other]) <= 0.7 for other in kept):
                kept.append(window)
        assert count == len(kept)
    assert sum(counts["paper"].values()) < sum(counts["released"].values())


def test_class_without_positives() -> None:
    world = World(absent=(1,))
    svms, log = train_svms(world, "fc7", QUICK)
    assert {"event": "no positives", "class": 1} in log
    assert all(e["class"] != 1 for e in log if e["event"] == "train")
    assert not svms.coef_[1].any()
    assert svms.intercept_[1] == NO_SVM
    assert svms.intercept_[0] != NO_SVM


def test_empty_images_and_a_first_image_without_negatives() -> None:
    world = World(images=8, seed=3)
    world.proposals[0] = Proposals(empty_boxes())
    world.targets[0] = Target([[0, 0, 50, 50]], [0], [False])
    world.proposals[4] = Proposals(empty_boxes())
    world.targets[4] = Target(empty_boxes(), [], [])
    world.proposals[7] = Proposals(empty_boxes())
    world.targets[7] = Target(empty_boxes(), [], [])
    told = compare(world, QUICK)
    assert {e["class"] for e in told if e["image"] == 7} == {0, 1, 2}  # the last image trains all, empty or not


def test_no_object_at_all() -> None:
    with pytest.raises(SppDetError, match="there is no object in the 12 training images"):
        train_svms(World(absent=(0, 1, 2)), "fc7", QUICK)
    with pytest.raises(SppDetError, match="there is no training image"):
        train_svms(World(images=0), "fc7", QUICK)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("passes", [1, 2])
def test_goes_on_from_a_checkpoint_to_the_same_bytes(tmp_path: Path, passes: int) -> None:
    settings = replace(QUICK, checkpoint_every=3, passes=passes)
    whole, log = train_svms(World(seed=5), "fc7", settings, tmp_path / "whole")

    def kill(done: int, total: int) -> None:
        if done == total - 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_svms(World(seed=5), "fc7", settings, tmp_path / "part", kill)
    seen: list[int] = []
    again, log_again = train_svms(
        World(seed=5), "fc7", settings, tmp_path / "part", lambda done, total: seen.append(done)
    )
    assert seen[0] > 1
    assert json.dumps(log) == json.dumps(log_again)
    assert whole.state().keys() == again.state().keys()
    for name, array in whole.state().items():
        assert array.tobytes() == again.state()[name].tobytes()
    assert (tmp_path / "part").read_bytes() == (tmp_path / "whole").read_bytes()


def test_checkpoint_of_another_run_or_broken(tmp_path: Path) -> None:
    path = tmp_path / "svm.safetensors"
    train_svms(World(), "fc7", QUICK, path)
    with pytest.raises(SppDetError, match=r"svm\.safetensors: was written with other settings"):
        train_svms(World(), "fc7", replace(QUICK, C=1.0), path)
    with pytest.raises(SppDetError, match=r"svm\.safetensors: was written with other settings"):
        train_svms(World(images=13), "fc7", QUICK, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"svm\.safetensors: is not a safetensors file"):
        train_svms(World(), "fc7", QUICK, path)
