import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.training import TinyHead, World

from spp_det.errors import DataError, SppDetError
from spp_det.networks import FcHead
from spp_det.training import PAPER_RATES, RELEASED_RATES, FinetuneSettings, SamplingSettings, finetune
from spp_det.training.sampling import sample_chunk

SETTINGS = FinetuneSettings(
    iterations=30,
    rates=((20, 0.05), (10, 0.005)),
    checkpoint_every=1,
    sampling=SamplingSettings(batch_size=16, chunk=4, windows_per_image=12),
)


def test_learns_to_tell_classes() -> None:
    world = World(images=20, dim=32)
    head = TinyHead(32, 3, hidden=64, dropout=0.1)
    sampling = replace(SETTINGS.sampling, batch_size=64, windows_per_image=32, chunk=40)
    log = finetune(head, world, replace(SETTINGS, iterations=160, rates=((160, 0.03),), sampling=sampling))
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]
    assert log[-1]["error"] < 0.15  # calling all of them background costs 0.25
    assert [entry["iteration"] for entry in log] == [40, 80, 120, 160]
    assert not head.training


def test_takes_the_real_head() -> None:
    world = World(images=8, dim=32)
    head = FcHead(32, hidden=(8, 8), num_classes=3, seed=1)
    before = head.fc6.weight.detach().clone()
    finetune(head, world, replace(SETTINGS, iterations=4))
    assert (head.fc6.weight != before).any()


def test_two_steps_by_hand() -> None:
    """SGD with momentum, decay on weights only, the biases' own rate; dropout is off because it has no place here."""
    world = World(images=8, dim=32)
    head = torch.nn.Linear(32, 4)
    start = {name: value.detach().clone().double() for name, value in head.named_parameters()}
    settings = replace(SETTINGS, iterations=2, rates=((1, 0.5), (1, 0.25)), bias_rate=2.0, weight_decay=0.01)
    vectors = np.empty((2, 16, 32), np.float16)
    labels = sample_chunk(world, settings.sampling, settings.seed, 0, vectors)
    weight, bias = start["weight"].numpy(), start["bias"].numpy()
    speed_w, speed_b = np.zeros_like(weight), np.zeros_like(bias)
    for x, y, rate in zip(vectors.astype(float), labels, (0.5, 0.25), strict=True):
        logits = x @ weight.T + bias
        soft = np.exp(logits - logits.max(axis=1, keepdims=True))
        soft /= soft.sum(axis=1, keepdims=True)
        soft[np.arange(16), y] -= 1
        speed_w = 0.9 * speed_w + soft.T @ x / 16 + 0.01 * weight
        speed_b = 0.9 * speed_b + soft.mean(axis=0)
        weight = weight - rate * speed_w
        bias = bias - 2 * rate * speed_b
    finetune(head, world, settings)
    np.testing.assert_allclose(head.weight.detach().numpy(), weight, atol=1e-4)
    np.testing.assert_allclose(head.bias.detach().numpy(), bias, atol=1e-4)


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    heads = [TinyHead(24, 3) for _ in range(3)]
    for head, seed in zip(heads, (0, 0, 1), strict=True):
        torch.manual_seed(int(time.monotonic_ns() % 1000))  # what the caller drew before must not matter
        finetune(head, World(), replace(SETTINGS, seed=seed))
    assert heads[0].bytes() == heads[1].bytes() != heads[2].bytes()


def test_bfloat16_repeats_and_stays_near() -> None:
    logs, heads = [], [TinyHead(24, 3) for _ in range(2)]
    for head in heads:
        logs.append(finetune(head, World(), replace(SETTINGS, bfloat16=True)))
    assert heads[0].bytes() == heads[1].bytes()
    plain = TinyHead(24, 3)
    assert finetune(plain, World(), SETTINGS)[-1]["loss"] == pytest.approx(logs[0][-1]["loss"], rel=0.05)
    assert plain.bytes() != heads[0].bytes()


def test_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    finetune(TinyHead(24, 3), World(), SETTINGS)
    assert torch.equal(before, torch.random.get_rng_state())


def test_rates() -> None:
    assert [SETTINGS.rate(i) for i in (0, 19, 20, 29, 1000)] == [0.05, 0.05, 0.005, 0.005, 0.005]
    paper = FinetuneSettings(rates=PAPER_RATES)
    assert (paper.iterations, paper.rate(249_999), paper.rate(250_000)) == (300_000, 1e-4, 1e-5)
    released = FinetuneSettings(iterations=200_000, rates=RELEASED_RATES)
    assert [released.rate(i) for i in (29_999, 30_000, 60_000, 199_999)] == [1e-3, 1e-4, 1e-5, 1e-5]


def test_stops_on_a_loss_that_is_not_finite() -> None:
    with pytest.raises(SppDetError, match=r"fine-tuning: loss (nan|inf) at iteration \d+, learning rate 1e\+30"):
        finetune(TinyHead(24, 3), World(), replace(SETTINGS, rates=((30, 1e30),)))


class KilledError(Exception):
    pass


def test_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = TinyHead(24, 3)
    log = finetune(whole, World(), SETTINGS, tmp_path / "whole")
    for at in (1, 4, 11, 29):

        def kill(done: int, total: int, at: int = at) -> None:
            if done == at:
                raise KilledError

        path = tmp_path / f"killed{at}"
        with pytest.raises(KilledError):
            finetune(TinyHead(24, 3), World(), SETTINGS, path, kill)
        again = TinyHead(24, 3)
        assert finetune(again, World(), SETTINGS, path) == log
        assert again.bytes() == whole.bytes()
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()


KILLED_RUN = """
import sys
from pathlib import Path
from reference.training import TinyHead, World
from test_settings import SETTINGS
from spp_det.training import finetune
finetune(TinyHead(24, 3), World(), SETTINGS, Path(sys.argv[1]), lambda done, total: print(done, flush=True))
"""


def test_killed_by_sigkill_at_a_random_moment(tmp_path: Path) -> None:
    whole = TinyHead(24, 3)
    log = finetune(whole, World(), SETTINGS)
    path = tmp_path / "tune.safetensors"
    settings = f"from spp_det.training import FinetuneSettings, SamplingSettings\nSETTINGS = {SETTINGS!r}\n"
    (tmp_path / "test_settings.py").write_text(settings)
    code = f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}\n" + KILLED_RUN
    lines = int(np.random.default_rng().integers(5, 29))
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert path.exists()
    again = TinyHead(24, 3)
    assert finetune(again, World(), SETTINGS, path) == log
    assert again.bytes() == whole.bytes()


def test_a_finished_checkpoint_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tune"
    head, again = TinyHead(24, 3), TinyHead(24, 3)
    log = finetune(head, World(), SETTINGS, path)
    world = World()
    assert finetune(again, world, SETTINGS, path) == log
    assert head.bytes() == again.bytes()
    assert not world.calls


def test_checkpoint_of_another_run_or_broken(tmp_path: Path) -> None:
    path = tmp_path / "tune"
    finetune(TinyHead(24, 3), World(), SETTINGS, path)
    with pytest.raises(SppDetError, match="tune: was written with other settings"):
        finetune(TinyHead(24, 3), World(), replace(SETTINGS, seed=4), path)
    with pytest.raises(SppDetError, match="tune: was written for other layers"):
        finetune(TinyHead(24, 3, hidden=8), World(), SETTINGS, path)
    path.write_bytes(b"no")
    with pytest.raises(DataError, match="tune: is not a safetensors file"):
        finetune(TinyHead(24, 3), World(), SETTINGS, path)


def test_no_positive_window() -> None:
    with pytest.raises(SppDetError, match="cannot fine-tune: no window of the 12 training images"):
        finetune(TinyHead(24, 3), World(absent=(0, 1, 2)), SETTINGS)
