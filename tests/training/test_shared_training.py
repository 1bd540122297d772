"""Training by several processes: what one would have learnt, to the bit, or within the rounding of sums."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.crowd import crowd
from reference.training import World

from spp_det.networks import FcHead
from spp_det.processes import Processes
from spp_det.team import join_team
from spp_det.training import (
    BoxRegressor,
    FinetuneSettings,
    SamplingSettings,
    SvmSettings,
    feature_norm,
    finetune,
    train_svms,
)

MINING = SvmSettings(C=0.01, retrain_after=15, checkpoint_every=3, passes=2)
TUNING = FinetuneSettings(
    iterations=24,
    rates=((16, 0.05), (8, 0.005)),
    checkpoint_every=1,
    sampling=SamplingSettings(batch_size=18, chunk=4, windows_per_image=12),
)


def world() -> World:
    return World(images=10, num_classes=5, seed=4, absent=(3,))


def mined(path: Path, here: Processes | None = None, kill_at: int | None = None, exchange: bool = True) -> list[Any]:
    """What mining comes to, as text; `kill_at`: the step at which the second process dies."""

    def watch(done: int, _: int) -> None:
        if done == kill_at and here is not None and here.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    svms, log = train_svms(world(), "fc7", MINING, path, watch, here or Processes(), exchange)
    return [{name: array.tobytes().hex() for name, array in svms.state().items()}, json.loads(json.dumps(log))]


@pytest.mark.parametrize(("count", "exchange"), [(2, True), (3, False), (6, True)])
def test_mining_is_the_same_for_any_number_of_processes(tmp_path: Path, count: int, exchange: bool) -> None:
    alone = mined(tmp_path / "alone.safetensors")
    assert len(alone[1]) > 1 + 2 * 4  # some class was trained between
    folder = tmp_path / "shared"
    found = crowd(count, lambda here: mined(folder / "checkpoint.safetensors", here, exchange=exchange))
    assert found == [alone] * count
    assert not [file for file in (folder / "passed_on").rglob("*") if file.is_file()]


@pytest.mark.parametrize("then", [1, 2, 3])
def test_mining_goes_on_with_another_number_of_processes(tmp_path: Path, then: int) -> None:
    alone = mined(tmp_path / "alone.safetensors")
    path = tmp_path / "shared" / "checkpoint.safetensors"
    crowd(2, lambda here: mined(path, here, kill_at=14), killed=1)
    assert path.with_name("checkpoint.1.safetensors").exists()
    if then == 1:
        assert mined(path) == alone
    else:
        crowd(then, lambda here: mined(path, here, kill_at=17), killed=1)
        assert crowd(then, lambda here: mined(path, here)) == [alone] * then


def test_the_mean_norm_and_the_regressors_are_the_same(tmp_path: Path) -> None:
    class Kept(dict[int, np.ndarray]):
        """Weights of classes in a folder that all see."""

        def __setitem__(self, label: int, weights: np.ndarray) -> None:
            np.save(tmp_path / f"{label}.npy", weights)

        def __contains__(self, label: object) -> bool:
            return (tmp_path / f"{label}.npy").exists()

        def __getitem__(self, label: int) -> np.ndarray:
            return np.load(tmp_path / f"{label}.npy")

    def work(here: Processes) -> list[Any]:
        regressor = BoxRegressor(10.0).fit(world(), Kept(), here=here)
        return [feature_norm(world(), "fc7", here=here), regressor.weights_.tobytes().hex()]

    expected = [feature_norm(world(), "fc7"), BoxRegressor(10.0).fit(world()).weights_.tobytes().hex()]
    assert crowd(3, work) == [expected] * 3


def new_head() -> FcHead:
    return FcHead(24, hidden=(16, 16), num_classes=5, dropout=0.5, seed=1)


def tuned(here: Processes, path: Path | None = None, stop_at: int = 0) -> list[Any]:
    """The log of fine-tuning and the weights; `stop_at`: the iteration at which it is left."""

    def watch(done: int, _: int) -> None:
        if done == stop_at and here.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    head = new_head()
    with join_team(here, everyone=True) as team:
        assert team is not None
        log = finetune(head, world(), TUNING, path, watch, team)
    return [log, {name: value.tolist() for name, value in head.state().items()}]


def assert_alike(found: list[Any], expected: list[Any]) -> None:
    for ours, theirs in zip(found[0], expected[0], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    for name, values in expected[1].items():
        np.testing.assert_allclose(found[1][name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [2, 4])  # of which four share the 18 windows of a batch unevenly
def test_fine_tuning_by_several_learns_what_one_does(count: int) -> None:
    alone = tuned(Processes())
    assert alone[0][-1]["loss"] < 0.9 * alone[0][0]["loss"]
    found = crowd(count, tuned)
    assert all(each == found[0] for each in found)
    assert_alike(found[0], alone)


def test_fine_tuning_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    path = tmp_path / "tune.safetensors"
    crowd(2, lambda here: tuned(here, path, stop_at=14), killed=1)
    assert path.exists()
    left = path.read_bytes()
    alone = tuned(Processes())
    assert_alike(tuned(Processes(), path), alone)
    path.write_bytes(left)
    assert_alike(crowd(3, lambda here: tuned(here, path))[0], alone)


def test_dropout_of_a_share_is_that_of_the_whole_batch() -> None:
    head, vectors = new_head().train(), torch.rand(10, 24)
    torch.manual_seed(3)
    whole = head(vectors)
    for rows in (slice(0, 4), slice(4, 10)):
        head.share = (rows, 10)
        torch.manual_seed(3)
        torch.testing.assert_close(head(vectors[rows]), whole[rows])


def test_a_share_of_a_chunk_is_that_of_the_whole() -> None:
    from spp_det.training.sampling import sample_chunk

    sampling = replace(TUNING.sampling, random_scales=True)
    whole = np.zeros((4, 18, 24), np.float32)
    labels = sample_chunk(world(), sampling, 5, 2, whole)
    for rows in (slice(0, 5), slice(5, 18)):
        part = np.zeros((4, rows.stop - rows.start, 24), np.float32)
        assert (sample_chunk(world(), sampling, 5, 2, part, share=rows) == labels[:, rows]).all()
        assert part.tobytes() == whole[:, rows].tobytes()
