"""The plan of large data sets against arithmetic by hand, and a simulation that goes second by second."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spp_det.evaluation.scaling_plan import (
    QUEUE_SECONDS,
    Cluster,
    DataSet,
    Rates,
    Stage,
    bottleneck,
    bounds,
    simulate,
    stages,
)

ALONE = Cluster(1, disk=1e6)
WORK = Stage("work", 100, 1, 0.5, 2e5, 1e5, True, "GPUs")


def test_one_worker_reads_computes_and_writes_one_after_the_other() -> None:
    assert simulate(WORK, ALONE, spread=0) == pytest.approx(100 * (0.5 + 0.2 + 0.1 + QUEUE_SECONDS))
    assert bounds(WORK, ALONE) == pytest.approx({"GPUs": 50.0, "disk": 30.0})
    assert bottleneck(WORK, ALONE) == "GPUs"
    assert (WORK.moved, WORK.stored) == (3e7, 1e7)
    assert replace(WORK, kept=False).stored == 0


def test_four_workers_wait_for_the_disk() -> None:
    """100 items of 0.3 s at the disk; the first cannot be written before it was read and computed."""
    stage = replace(WORK, workers=4)
    assert bottleneck(stage, ALONE) == "disk"
    found = simulate(stage, ALONE, spread=0)
    assert 30.0 <= found <= 30.0 + 0.5 + 4 * 0.3


def test_without_a_disk_the_last_round_is_what_is_lost() -> None:
    """7 items on 3 workers are three rounds, in chunks of 3 items one round of 3 + 3 + 1."""
    stage = Stage("work", 7, 3, 1.0, 0, 0, False, "cores")
    assert bounds(stage, ALONE) == pytest.approx({"cores": 7 / 3, "disk": 0.0})
    assert simulate(stage, ALONE, spread=0) == pytest.approx(3.0, abs=0.01)
    assert simulate(stage, ALONE, spread=0, chunk=3) == pytest.approx(3.0, abs=0.01)
    assert simulate(replace(stage, items=9), ALONE, spread=0, chunk=9) == pytest.approx(9.0, abs=0.01)


def test_the_queue_answers_one_at_a_time() -> None:
    """A thousand workers with nothing to do are as slow as the queue, and faster where they take ten at once."""
    stage = Stage("work", 5000, 1000, 1e-6, 0, 0, False, "cores")
    assert simulate(stage, ALONE) == pytest.approx(5000 * QUEUE_SECONDS, rel=0.01)
    assert simulate(stage, ALONE, chunk=10) == pytest.approx(500 * QUEUE_SECONDS, rel=0.01)


def test_unequal_images_keep_their_mean() -> None:
    stage = Stage("work", 4000, 1, 1.0, 0, 0, False, "cores")
    assert simulate(stage, ALONE, spread=0.5) == pytest.approx(4000, rel=0.05)
    assert simulate(stage, ALONE, seed=1) == simulate(stage, ALONE, seed=1)


def test_stages_by_hand() -> None:
    data = DataSet("small", 1000, 20, 1e5)
    rates = Rates(gpu=100, iteration=0.2, iterations=2, gradient_bytes=5e6)
    cluster = Cluster(16, machine=8, cores=4, network=1e9)
    plan = {stage.name: stage for stage in stages(data, cluster, rates)}
    assert bounds(plan["proposals"], cluster)["cores"] == pytest.approx(1000 * 0.090 / 64)
    assert bounds(plan["maps"], cluster)["GPUs"] == pytest.approx(1000 * 0.129 / 100 / 16)
    assert plan["maps"].stored == pytest.approx(1000 * 1.18e6)
    # 2,000 iterations, a sixteenth of 2 ms each, and a ring of two machines: 2 x 5 MB x 1/2 over 1 GB/s
    assert bounds(plan["fine-tuning"], cluster)["network"] == pytest.approx(2000 * (0.002 / 16 + 0.005))
    assert plan["fine-tuning"].moved == pytest.approx(2000 * 2 * 1.18e6 * 2)
    # 20 classes on 16 processes are two each, on a core each: no slower than one
    assert bounds(plan["SVMs"], cluster)["cores"] == pytest.approx(1000 * 0.0028)
    assert plan["SVMs"].moved == pytest.approx(1000 * 8.2e6 * 2)
    assert {stage.name for stage in plan.values() if stage.kept} == {"proposals", "maps", "detect"}


def test_one_machine_exchanges_no_gradients() -> None:
    plan = {stage.name: stage for stage in stages(DataSet("small", 10, 1, 1), Cluster(8), Rates())}
    assert plan["fine-tuning"].scarce == "GPUs"
    assert plan["fine-tuning"].seconds == pytest.approx(0.165 / 200 / 8)
