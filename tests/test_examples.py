"""The programs in examples/ run, one after the other, as their own texts say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from spp_det import Detector
from spp_det.datasets import SHAPES_CLASSES, VOCDataset, make_shapes
from spp_det.detection.memory import BACKGROUND
from spp_det.images import read_image

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICK = ["maps.scales=[160]", "finetune.iterations=10", "finetune.hidden=[16, 16]", "proposals.max_windows=100"]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("examples") / "shapes"
    make_shapes(root, 4, 2)
    return root


def test_train_detect_and_add_a_class(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, picture = tmp_path / "run", next(shapes.rglob("JPEGImages/test_*.jpg"))
    assert example("train_on_a_folder").main([str(shapes), "--out", str(run), "--set", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "to train on: 4 images of trainval" in out
    assert "mean average precision: " in out
    arguments = [str(picture), "--run", str(run), "--out", str(tmp_path / "found.jpg"), "--min-score", "-0.9"]
    assert example("detect_and_draw").main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(f"{len(lines) - 1} objects; see ")
    assert all(line.split()[0] in SHAPES_CLASSES for line in lines[:-1])
    assert read_image(tmp_path / "found.jpg").shape == read_image(picture).shape
    without, again = tmp_path / "without", tmp_path / "again"
    Detector.load(run).remove_class("star").save(without)
    (without / "run.json").write_bytes((run / "run.json").read_bytes())  # which says where its own images' maps are
    arguments = [str(without), "--name", "star", "--data", str(shapes), "--out", str(again)]
    assert example("add_a_class").main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"star: \d+ objects in \d+ images, learnt in [\d.]+ s", lines[0])
    others = ", ".join(name for name in SHAPES_CLASSES if name != "star")
    assert lines[1] == f"the other classes, {others}, are as they were"
    assert all(" star " in line for line in lines[2:-1])
    assert Detector.load(again).class_names[-1] == "star"
    assert (again / BACKGROUND).exists()


def test_explore_a_feature_map(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = VOCDataset(shapes, "2007", "trainval", SHAPES_CLASSES)
    image_id = dataset.ids[0]
    box = [f"{value:.0f}" for value in dataset.target(image_id).boxes[0]]
    picture = str(dataset.image_path(image_id))
    out = tmp_path / "alike.png"
    assert example("explore_a_feature_map").main([picture, "--box", *box, "--out", str(out), "--windows", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "vectors of 4480 numbers each" in lines[1]  # 320 channels, 14 bins
    assert lines[2].split() == ["this", "1.000", *f"[{', '.join(box)}]".split()]
    assert all(0 < float(line.split()[1]) < 1 for line in lines[3:])
    assert read_image(out).shape == dataset.image(image_id).shape


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    assert [path.stem for path in EXAMPLES.glob("*.py") if f'"{path.stem}"' not in tested] == []
