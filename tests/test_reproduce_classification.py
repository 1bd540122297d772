"""The paper's tables of classification by tools/reproduce.py, on generated class folders and a small devkit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from reference.classes import make_folders
from reference.tools import load_tool

import spp_det.pipeline.classification_tables as classification_tables
from spp_det.datasets import SHAPES_CLASSES, make_shapes
from spp_det.errors import ConfigError, DataError, WeightsError

TRUNK = "reference.classes:small_trunk"
TRAINING = [
    f"trunk.name={TRUNK}",
    "training.epochs=1",
    "training.batch_size=8",
    "training.short_side=36",
    "training.crop=32",
    "training.sizes=[32]",
    "training.workers=0",
    "classifier.hidden=[8, 8]",
    "classifier.levels=[1, 2]",
    "testing.short_side=36",
    "testing.view=32",
    "testing.scales=[32]",
]
FEATURES = [f"trunk={TRUNK}", "weights=random", "side=32"]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("reproduce")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    make_folders(folder / "train", 4)
    make_folders(folder / "val", 2, seed=1)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reproduce(tool: ModuleType, table: str, data: Path, out: Path, *more: str) -> dict[str, dict[str, Any]]:
    """The rows by their names."""
    places = ["--data", str(data), "--out", str(out), "--json", str(out / "out.json")]
    assert tool.main([table, *places, "--markdown", str(out / "out.md"), *more]) == 0
    return {row["row"]: row for row in json.loads((out / "out.json").read_text())["rows"]}


def test_a_network_of_table_2_is_trained_once_and_tested_by_table_4_too(
    tool: ModuleType, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    only = ["--only", "overfeat7, multi-size", "--set", *TRAINING]
    found = reproduce(tool, "table2", folders, tmp_path, *only)
    row = found["Overfeat-7, multi-size, 10 views"]
    assert row["paper"] == {"top-1": 29.68, "top-5": 10.95}
    assert row["here"]["top-5"] == 0  # of three classes
    assert sum(other["here"] is None for other in found.values()) == 13
    printed = capsys.readouterr().out
    assert "29.68" in printed
    assert "not made yet: ZF-5, no SPP, 10 views; " in printed
    monkeypatch.setattr("spp_det.classification.training.Training._epoch", None)  # not called: the training is done
    views = reproduce(tool, "table4", folders, tmp_path, "--set", *TRAINING)
    assert [row["here"] is not None for row in views.values()] == [True, True, True]
    assert len(list(tmp_path.glob("overfeat7_multi-size-*"))) == 1
    assert "| Overfeat-7, multi-size, 96 views | - | - | 9.36 | 0.00 |" in (tmp_path / "out.md").read_text()


def test_table_6_from_a_devkit_and_again(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    devkit = make_devkit(tmp_path / "VOCdevkit")
    only = ["--only", "zf5, SPP", "--set", *FEATURES, "SPP ZF-5, crop 224, conv4:layer=conv3"]
    found = reproduce(tool, "table6", devkit, tmp_path, *only)
    made = {name for name, row in found.items() if row["here"] is not None}
    assert made == {
        "SPP ZF-5, crop 224, conv4",
        "SPP ZF-5, crop 224, pooled 6x6",
        "SPP ZF-5, full 224, pooled 6x6",
        "SPP ZF-5, full 392, pooled 6x6",
    }
    assert all(0 <= found[name]["here"]["mAP"] <= 100 for name in made)
    assert found["SPP ZF-5, full 392, fc7"]["fault"].endswith("the weights of small hold no fully connected layers")
    assert "conv5: layer conv5: small has conv1 to conv3" in capsys.readouterr().out.replace("\n", "")

    def no_work(*_: object) -> None:
        raise AssertionError("it was made before")

    monkeypatch.setattr(classification_tables, "run_row", no_work)
    assert reproduce(tool, "table6", devkit, tmp_path, *only) == found
    tested = devkit / "VOC2007" / "ImageSets" / "Main" / "test.txt"
    tested.write_text(tested.read_text().split()[0])  # other data
    with pytest.raises(AssertionError, match="made before"):
        reproduce(tool, "table6", devkit, tmp_path, *only)


def make_devkit(root: Path) -> Path:
    """Shapes under the names of classes of VOC."""
    make_shapes(root, train=8, test=6)
    names = dict(zip(SHAPES_CLASSES, ("bird", "boat", "bottle", "bus", "car", "cat", "chair"), strict=False))
    for file in (root / "VOC2007" / "Annotations").iterdir():
        text = file.read_text()
        for ours, theirs in names.items():
            text = text.replace(f"<name>{ours}</name>", f"<name>{theirs}</name>")
        file.write_text(text)
    return root


def test_table_7_by_splits(tool: ModuleType, folders: Path, tmp_path: Path) -> None:
    splits = ["train=2", "test=2", "splits=2", "levels=[1, 2]"]
    only = ["--only", "SPP Overfeat-7, full 224, pyramid"]
    found = reproduce(tool, "table7", folders / "train", tmp_path, *only, "--set", *FEATURES, *splits)
    row = found["SPP Overfeat-7, full 224, pyramid"]
    assert row["paper"] == {"accuracy": 93.42}
    assert 0 <= row["here"]["accuracy"] <= 100


def test_what_cannot_be_made(
    tool: ModuleType, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"no SPP ZF-5, crop 224, .* needs pretrained .*/data/weights/zf5.safe"):
        reproduce(tool, "table7", folders, tmp_path)
    with pytest.raises(DataError, match="none: there is no such folder"):
        reproduce(tool, "table2", tmp_path / "none", tmp_path)
    with pytest.raises(ConfigError, match=r"--only fc7: the table has zf5, no SPP; "):
        reproduce(tool, "table2", folders, tmp_path, "--only", "fc7")
    with pytest.raises(ConfigError, match=r"--set fc7:seed=1: the table has no such row"):
        reproduce(tool, "table2", folders, tmp_path, "--set", "fc7:seed=1")
    for wrong in (["--limit", "3"], ["--trunk", "alexnet"], ["--mean-over", "car"], ["--timing", "0"]):
        with pytest.raises(SystemExit) as caught:
            reproduce(tool, "table2", folders, tmp_path, *wrong)
        assert caught.value.code == 2
        assert f"{wrong[0]} is for the tables of detection" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
