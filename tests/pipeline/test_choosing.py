"""A training without a configuration: what is chosen for which data, what is said, and what is written."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from reference.dataset_forms import write_coco, write_yolo

from spp_det import Detector, cli
from spp_det.config import Config, load_config
from spp_det.datasets import SHAPES_CLASSES, VOCDataset, make_shapes, recognise
from spp_det.errors import ConfigError, DataError
from spp_det.pipeline import beginning, choosing
from spp_det.pipeline.choosing import Counts, choose, count_objects, plan_training

QUICK = ["maps.scales=[160]", "finetune.iterations=10", "finetune.hidden=[16, 16]", "proposals.max_windows=100"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("choosing") / "shapes"
    make_shapes(root, 5, 2)
    return root


def voc(shapes: Path, split: str) -> VOCDataset:
    return VOCDataset(shapes, "2007", split, SHAPES_CLASSES)


@pytest.fixture
def coco(shapes: Path, tmp_path: Path) -> Path:
    for split in ("trainval", "test"):
        write_coco(voc(shapes, split), tmp_path / "my_coco", split)
    return tmp_path / "my_coco"


@pytest.fixture
def yolo(shapes: Path, tmp_path: Path) -> Path:
    root = tmp_path / "my_yolo"
    write_yolo(voc(shapes, "trainval"), root, "train")
    (root / "classes.txt").write_text("\n".join(SHAPES_CLASSES))
    return root


def counts(images: int, objects: int, classes: int = 2, side: float = 0.4) -> Counts:
    each = {f"class {label}": objects // classes for label in range(classes)}
    return Counts(images, each, np.full(objects, side), 0)


@pytest.mark.parametrize(
    ("given", "scale", "iterations", "wide", "flip"),
    [
        (counts(501, 1002), 600, 1600, 1024, False),
        (counts(100, 120, 12), 600, 500, 1024, True),
        (counts(5000, 20000, 20), 600, 6000, 1024, False),
        (counts(501, 1002, side=0.05), 800, 1600, 1024, False),
    ],
)
def test_the_rule_for_many(given: Counts, scale: int, iterations: int, wide: int, flip: bool) -> None:
    settings = choose(given).settings
    assert "svm" not in settings
    tune = settings["finetune"]
    assert settings["maps"]["scales"] == [scale]
    assert (tune["iterations"], tune["hidden"], tune["flip"]) == (iterations, [wide, wide], flip)
    assert sum(count for count, _ in tune["rates"]) == iterations


@pytest.mark.parametrize(
    ("given", "scale", "weight", "flip"),
    [
        (counts(50, 60), 600, 5.0, True),
        (counts(2, 2), 600, 5.0, True),
        (counts(100, 140), 600, 3.6, True),
        (counts(500, 1000, 10), 600, 2.5, True),
        (counts(100, 240), 600, 4.2, False),
        (counts(200, 227, 1), 600, 2.2, False),
        (counts(500, 1000, 1), 600, 2.0, False),
        (counts(50, 60, side=0.9), 480, 5.0, True),
        (counts(50, 60, side=0.05), 800, 5.0, True),
    ],
)
def test_the_rule_for_few(given: Counts, scale: int, weight: float, flip: bool) -> None:
    choice = choose(given)
    assert choice.settings["maps"]["scales"] == [scale]
    assert choice.settings["finetune"]["iterations"] == 0
    svm = choice.settings["svm"]
    assert svm == {"layer": "pool5", "positive_weight": weight, "standardise": True, "flip": flip}
    detect = {"scales": [scale, scale * 3 // 2], "nms_overlap": 0.2, "vote": True}
    assert choice.settings["detect"] == detect
    assert choose(given, ["maps.scales=[160]"]).settings["detect"] == {**detect, "scales": []}
    assert "fc6, fc7: none" in "\n".join(choice.why)


def test_classes_without_an_object_do_not_count() -> None:
    named = counts(100, 120, 2)
    many = {**named.objects, **{f"of COCO's {number}": 0 for number in range(78)}}
    assert choose(Counts(named.images, many, named.sides, 0)).settings == choose(named).settings


def test_who_asks_for_layers_gets_them() -> None:
    few = counts(50, 60)
    for own in (["finetune.iterations=2000"], ["svm.layer=fc7"], ["finetune.rank=[64, 64]"]):
        settings = choose(few, own).settings
        assert "svm" not in settings
        tune = settings["finetune"]
        assert (tune["iterations"], tune["hidden"], tune["flip"]) == (400, [512, 512], True)
    for own in (["finetune.iterations=0"], ["svm.layer=pool5"], ["svm.C=0.01", "maps.scales=[160]"]):
        assert choose(few, own).settings["svm"]["layer"] == "pool5"


def test_objects_are_counted_without_difficult_and_broken_ones(coco: Path, shapes: Path) -> None:
    file = coco / "annotations" / "instances_trainval.json"
    content = json.loads(file.read_text())
    broken, crowded = content["images"][0]["id"], content["images"][1]["id"]
    next(each for each in content["annotations"] if each["image_id"] == broken)["bbox"][2] = 0
    next(each for each in content["annotations"] if each["image_id"] == crowded)["iscrowd"] = 1
    file.write_text(json.dumps(content))
    counted = count_objects(recognise(coco).dataset("trainval"))
    expected = sum(len(voc(shapes, "trainval").target(image_id)) for image_id in voc(shapes, "trainval").ids[1:]) - 1
    assert (counted.images, counted.faults, counted.total) == (4, 1, expected)
    assert counted.sides.shape == (expected,)
    assert 0 < counted.sides.min() < counted.sides.max() < 2


def test_each_form_is_planned(coco: Path, yolo: Path, shapes: Path) -> None:
    for root, form, split in (
        (coco, "coco", "trainval"),
        (yolo, "yolo", "train:learn"),
        (shapes, "shapes", "trainval"),
    ):
        plan = plan_training(root)
        assert (plan.config.data.format, plan.config.data.train) == (form, split)
        assert plan.config.evaluate.method == "area"
        assert f"images of {split}" in "\n".join(plan.said)
    assert "a fifth of the images, held out" in "\n".join(plan_training(yolo).said)


def test_settings_of_the_users_own_come_before_the_rule(yolo: Path) -> None:
    plan = plan_training(yolo, ["finetune.iterations=7", "data.train=train", "svm.C=0.5"])
    assert (plan.config.finetune.iterations, plan.config.svm.C, plan.config.data.train) == (7, 0.5, "train")
    assert "5 images of train," in "\n".join(plan.said)
    with pytest.raises(ConfigError, match=r"my_yolo.*`D`"):
        plan_training(yolo, ["svm.D=1"])


def test_who_wants_a_smaller_detector_gets_layers(yolo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    begun: list[str] = []

    def train_nothing(config: Config, *_: object, **__: object) -> None:
        begun.append(config.svm.layer)
        raise KeyboardInterrupt

    monkeypatch.setattr(beginning, "train", train_nothing)
    for small, layer in ((True, "fc7"), (False, "pool5")):
        with pytest.raises(KeyboardInterrupt):
            beginning.begin(yolo, None, small=small)
        assert begun.pop() == layer
    with pytest.raises(ConfigError, match=r"--compress and svm\.layer do not go together"):
        beginning.begin(yolo, None, overrides=["svm.layer=pool5"], small=True)
    assert not begun


def test_many_images_are_cut(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MOST_IMAGES", 3)
    plan = plan_training(coco)
    assert plan.config.data.max_images == 3
    assert "3 of its 5 images are used" in "\n".join(plan.said)
    assert plan_training(coco, ["data.max_images=4"]).config.data.max_images == 4


def test_nothing_to_learn_from(yolo: Path, tmp_path: Path) -> None:
    for path in (yolo / "labels").rglob("*.txt"):
        path.write_text("")
    with pytest.raises(DataError, match="no object to learn from in the 4 images of train:learn"):
        plan_training(yolo)
    with pytest.raises(DataError, match="no data set of a form that is read here"):
        plan_training(tmp_path)


def test_from_data_to_a_detector(
    coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [part for text in QUICK for part in ("--set", text)]
    assert cli.run(["train", "--data", "my_coco", *settings, "--compress"]) == 0
    out = capsys.readouterr().out
    assert "COCO's form in my_coco: 2 splits (test, trainval), 7 classes" in out
    assert out.splitlines()[-1] == "next: spp-det test runs/my_coco; spp-det detect PICTURE --run runs/my_coco-small"
    beside, within = Path("runs/my_coco.toml"), Path("runs/my_coco/config.toml")
    assert beside.read_text().startswith("# Chosen by spp-det train --data.\n# COCO's form")
    assert tomllib.loads(beside.read_text()) == tomllib.loads(within.read_text())
    image = np.full((90, 120, 3), 90, np.uint8)
    for run in ("my_coco", "my_coco-small"):
        assert Detector.load(f"runs/{run}").detect(image).class_names == SHAPES_CLASSES

    assert cli.run(["train", "--config", str(beside), "--out", "runs/my_coco", "--json", "--compress"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert all(stage["seconds"] is None for stage in told["stages"].values())  # the written file is what was trained
    assert (told["run"], told["small"]) == ("runs/my_coco", "runs/my_coco-small")

    small = Path("runs/my_coco-small/svms.safetensors").read_bytes()
    again = ["train", "--data", "my_coco", *settings, "--set", "svm.C=0.01", "--compress"]
    assert cli.run(again) == 0
    out = capsys.readouterr().out
    assert "runs/my_coco.toml is another configuration, and stays" in out
    assert load_config(beside).svm.C == 0.001
    assert load_config(within).svm.C == 0.01
    assert Path("runs/my_coco-small/svms.safetensors").read_bytes() != small


def test_data_or_a_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.run(["train"]) == 2
    assert "name your data, or a configuration" in capsys.readouterr().err
