"""Training a classifier: that it learns, goes on bit-exactly, shares its work, and names what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.classes import make_folders

from spp_det.classification.config import ClassificationConfig, TrainingConfig, load_classification
from spp_det.classification.network import load_classifier
from spp_det.classification.testing import evaluate_classifier
from spp_det.classification.training import Training, epoch_size, train_classifier
from spp_det.config import config_to_toml
from spp_det.errors import ConfigError, DataError, SppDetError

ROOT = Path(__file__).parent.parent.parent
SMALL = """
precision = "float32"
[data]
root = "ROOT"
[trunk]
name = "reference.classes:small_trunk"
weights = "random"
[classifier]
levels = [1, 2]
hidden = [32, 32]
[training]
epochs = 3
batch_size = 4
rate = 0.02
short_side = 36
crop = 32
sizes = [32, 24]
checkpoint_every = 2
workers = 0
[testing]
short_side = 36
view = 32
scales = [32, 40]
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as small as these are slower by more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_folders(root / "train", 6)
    make_folders(root / "val", 2, seed=1)
    return root


def config_file(folder: Path, data: Path) -> Path:
    path = folder / "small.toml"
    path.write_text(SMALL.replace("ROOT", str(data)))
    return path


def config(folder: Path, data: Path, *overrides: str) -> ClassificationConfig:
    return load_classification(config_file(folder, data), overrides)


def tool(*arguments: str | Path, launch: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *launch, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, capture_output=True, text=True, check=False, env=env)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "config.toml"}


def test_it_learns_and_what_it_leaves_gives_the_same_logits(tmp_path: Path, data: Path) -> None:
    settings = config(tmp_path, data, "training.epochs=9", "training.rate=0.01", "classifier.dropout=0.0")
    log = train_classifier(settings, tmp_path / "run")
    assert min(entry["loss"] for entry in log) < 0.5 * log[0]["loss"]
    assert min(entry["val_error"] for entry in log) <= 0.2
    network, found = load_classifier(tmp_path / "run")
    assert found == settings
    assert network.class_names == ("across", "along", "dots")
    for side in (24, 32, 41):  # any size goes in
        assert network(torch.zeros(2, 3, side, side + 7)).shape == (2, 3)


class KilledError(Exception):
    pass


def test_stopped_in_the_middle_of_an_epoch_it_ends_in_the_same_bytes(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path, data, "training.colour=0.3", "classifier.dropout=0.5")
    train_classifier(settings, tmp_path / "whole")
    step, steps = Training._step, 0

    def fragile(self: Training, *arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps % 5 == 4:  # an epoch has five iterations, a checkpoint stands behind two and four of them
            raise KilledError
        step(self, *arguments)

    monkeypatch.setattr(Training, "_step", fragile)
    for _ in range(30):
        try:
            train_classifier(settings, tmp_path / "killed")
            break
        except KilledError:
            continue
    assert steps > 15
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, data: Path) -> None:
    train_classifier(config(tmp_path, data, "training.epochs=1"), tmp_path / "run")
    with pytest.raises(SppDetError, match=r"checkpoint.safetensors: was written with other settings"):
        train_classifier(config(tmp_path, data, "training.epochs=1", "training.rate=0.5"), tmp_path / "run")


def test_two_processes_learn_what_one_does(tmp_path: Path, data: Path) -> None:
    settings = ("classifier.dropout=0.0", "training.epochs=2")
    train_classifier(config(tmp_path, data, *settings), tmp_path / "alone")
    rest = ("--config", config_file(tmp_path, data), "--set", *settings, "--out")
    train = ROOT / "tools" / "train_net.py"
    both = tool(
        train, *rest, tmp_path / "both", launch=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    )
    assert both.returncode == 0, both.stderr
    logs = [json.loads((tmp_path / name / "log.json").read_text()) for name in ("alone", "both")]
    for one, two in zip(*logs, strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    networks = [load_classifier(tmp_path / name)[0] for name in ("alone", "both")]
    for name, value in networks[0].state_dict().items():
        torch.testing.assert_close(networks[1].state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert both.stdout.count("trained: ") == 1


def test_sizes_take_turns_by_epoch() -> None:
    training = TrainingConfig(sizes=(224, 180))
    assert [epoch_size(training, 0, epoch) for epoch in range(4)] == [224, 180, 224, 180]
    any_size = TrainingConfig(sizes=(180, 224), size_rule="random")
    sizes = {epoch_size(any_size, 0, epoch) for epoch in range(2000)}
    assert sizes == set(range(180, 225))
    assert epoch_size(any_size, 0, 5) == epoch_size(any_size, 0, 5)


def test_the_rate_falls_on_plateaus_so_often_and_no_more(tmp_path: Path, data: Path) -> None:
    settings = config(tmp_path, data, "training.rate=1e-9", "training.epochs=8", "training.patience=1", 'data.val=""')
    rates = [entry["rate"] for entry in train_classifier(settings, tmp_path / "run")]
    np.testing.assert_allclose(sorted(set(rates), reverse=True), [1e-9], rtol=1e-6)  # falls below torch's 1e-8 are none
    settings = config(
        tmp_path, data, "training.rate=1e-5", "training.epochs=12", "training.patience=0", "classifier.dropout=0.0"
    )
    rates = [entry["rate"] for entry in train_classifier(settings, tmp_path / "falling")]
    assert min(rates) >= 1e-7 * 0.999
    assert rates[0] == 1e-5
    assert sorted(rates, reverse=True) == rates


def test_the_rate_falls_after_the_epochs_that_are_given(tmp_path: Path, data: Path) -> None:
    settings = config(tmp_path, data, "training.rate=1e-5", "training.epochs=5", "training.drop_after=[2, 4]")
    rates = [entry["rate"] for entry in train_classifier(settings, tmp_path / "run")]
    np.testing.assert_allclose(rates, [1e-5, 1e-5, 1e-6, 1e-6, 1e-7])
    for epochs in ("[4, 2]", "[0]", "[5]"):
        with pytest.raises(ConfigError, match=r"needs epochs that rise.*training.drop_after"):
            config(tmp_path, data, "training.epochs=5", f"training.drop_after={epochs}")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    root = tmp_path / "broken"
    make_folders(root / "train", 4)
    make_folders(root / "val", 1)
    path = root / "train" / "dots" / "002.png"
    path.write_bytes(path.read_bytes()[:200])
    return root


def test_an_unreadable_image_stops_the_training_by_name(tmp_path: Path, broken: Path) -> None:
    for workers in ("0", "1"):
        with pytest.raises(DataError, match=r"train/dots/002.png: is a broken image"):
            train_classifier(config(tmp_path, broken, f"training.workers={workers}"), tmp_path / f"run{workers}")


def test_or_is_named_counted_and_left_out(tmp_path: Path, broken: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = train_classifier(config(tmp_path, broken), tmp_path / "run", skip_bad=True)
    assert [entry["left_out"] for entry in log] == [1, 1, 1]
    out = capfd.readouterr().out
    assert out.count("left out ") >= 3
    assert f"{broken}/train/dots/002.png: is a broken image" in out
    assert ", 1 left out, rate " in out


def test_batches_without_one_readable_image_are_gone_through(tmp_path: Path, data: Path) -> None:
    root = tmp_path / "all_broken"
    make_folders(root / "train", 2)
    make_folders(root / "val", 1)
    for path in sorted(root.glob("train/*/*.png"))[:5]:
        path.write_bytes(b"no image")
    log = train_classifier(config(tmp_path, root, "training.batch_size=1"), tmp_path / "run", skip_bad=True)
    assert all(entry["left_out"] == 5 and np.isfinite(entry["loss"]) for entry in log)
    for path in root.glob("train/*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(SppDetError, match="none of the 6 images can be read"):
        train_classifier(config(tmp_path, root, "training.epochs=1"), tmp_path / "none", skip_bad=True)


def test_a_loss_that_is_not_finite_stops_it(tmp_path: Path, data: Path) -> None:
    with pytest.raises(SppDetError, match=r"the loss is \w+ by iteration .* of epoch .*try a lower training.rate"):
        train_classifier(config(tmp_path, data, "training.rate=1e6", "training.epochs=9"), tmp_path / "run")


def test_the_tool_says_one_line_for_what_is_wrong(tmp_path: Path, data: Path) -> None:
    path = config_file(tmp_path, data)
    (tmp_path / "hollow" / "train" / "cat").mkdir(parents=True)
    train = ROOT / "tools" / "train_net.py"
    done = tool(train, "--config", path, "--data", tmp_path / "hollow", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/hollow/train/cat: is the folder of a class, and holds no image\n"


def test_the_test_tool_prints_errors_by_views(tmp_path: Path, data: Path) -> None:
    train_classifier(config(tmp_path, data, "training.epochs=1"), tmp_path / "run")
    done = tool(ROOT / "tools" / "test_net.py", "--run", tmp_path / "run", "--set", 'testing.views=["crop", "98"]')
    assert done.returncode == 0, done.stderr
    assert "errors, 6 images, 3 classes" in done.stdout
    assert set(json.loads((tmp_path / "run" / "errors.json").read_text())["views"]) == {"crop", "98"}
    with pytest.raises(DataError, match="there is no such folder"):
        evaluate_classifier(tmp_path / "run", split="tset")


def test_the_configuration_is_complete_and_checked(tmp_path: Path, data: Path) -> None:
    shipped = load_classification(ROOT / "configs" / "imagenet_spp_zf5.toml")
    path = tmp_path / "again.toml"
    path.write_text(config_to_toml(shipped))
    assert load_classification(path) == shipped
    assert path.read_text().count("=") == sum(
        "=" in line.split("#")[0] for line in (ROOT / "configs" / "imagenet_spp_zf5.toml").read_text().splitlines()
    )
    for override, part in [
        ("training.crop=300", "training.crop"),
        ("classifier.levels=[]", "classifier.levels"),
        ("training.side=3", "side"),
        ("training.sizes=[8]", "training.sizes"),
        ('testing.views=["most"]', "views"),
        ("testing.scales=[200]", "testing.scales"),
    ]:
        with pytest.raises(ConfigError, match=part):
            load_classification(ROOT / "configs" / "imagenet_spp_zf5.toml", [override])


def test_classes_and_weights_that_do_not_fit(tmp_path: Path, data: Path) -> None:
    train_classifier(config(tmp_path, data, "training.epochs=1"), tmp_path / "run")
    (tmp_path / "run" / "classes.json").write_text('["one", "two"]')
    with pytest.raises(DataError, match=r"classes.json: names 2 classes, where model.safetensors is for 3"):
        load_classifier(tmp_path / "run")
    make_folders(tmp_path / "other" / "train", 1)
    make_folders(tmp_path / "other" / "val", 1, classes=("across", "cubes"))
    with pytest.raises(DataError, match=r"val/cubes: is none of the 3 classes"):
        train_classifier(config(tmp_path, tmp_path / "other"), tmp_path / "never")
