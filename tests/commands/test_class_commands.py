"""spp-det add-class, remove-class and rename-class on a run of a few seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spp_det import Detector, cli
from spp_det.datasets import SHAPES_CLASSES, make_shapes
from spp_det.detection.memory import BACKGROUND
from spp_det.files import read_arrays, read_json

ROOT = Path(__file__).parent.parent.parent
QUICK = ["data.options={train=6, test=2}", "maps.scales=[160]", "finetune.iterations=10", "finetune.hidden=[16, 16]"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    make_shapes(folder / "shapes", 6, 2)
    settings = [part for text in (*QUICK, "proposals.max_windows=100") for part in ("--set", text)]
    config = ["--config", str(ROOT / "configs" / "shapes.toml"), "--data", str(folder / "shapes")]
    assert cli.run(["train", *config, *settings, "--out", str(folder / "runs" / "run")]) == 0
    return folder


def run(*arguments: str | Path) -> int:
    return cli.run([str(argument) for argument in arguments])


def test_a_class_goes_and_comes_again(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, without, again = (workplace / "runs" / name for name in ("run", "without", "again"))
    assert run("remove-class", first, "star", "--out", without) == 0
    assert Detector.load(without).class_names == tuple(name for name in SHAPES_CLASSES if name != "star")
    assert Detector.load(first).class_names == SHAPES_CLASSES
    add = ["add-class", without, "--name", "star", "--data", workplace / "shapes", "--out", again, "--json"]
    capsys.readouterr()
    assert run(*add) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["class"], told["new"], told["run"]) == ("star", True, str(again))
    assert told["objects"] == told["positives"] > 0
    assert (without / BACKGROUND).exists()  # drawn from the stored maps of the training
    old, new = read_arrays(without / "svms.safetensors"), read_arrays(again / "svms.safetensors")
    assert new["coef"][:-1].tobytes() == old["coef"].tobytes()
    assert new["intercept"][:-1].tobytes() == old["intercept"].tobytes()
    old, new = (read_arrays(path / "regressor.safetensors") for path in (without, again))
    assert new["weights"][:-1].tobytes() == old["weights"].tobytes()
    assert (again / "head.safetensors").read_bytes() == (first / "head.safetensors").read_bytes()
    detector = Detector.load(again)
    assert detector.class_names[-1] == "star"
    assert "star" in detector.detect(np.full((200, 200, 3), 90, np.uint8), min_score=-np.inf).class_names
    positives = len(detector.memory("star").svm.positives)
    assert run("add-class", again, "--name", "star", "--data", workplace / "shapes", "--images", "1") == 0
    assert len(Detector.load(again).memory("star").svm.positives) > positives
    assert "the SVM keeps" in capsys.readouterr().out


def test_a_class_gets_another_name(workplace: Path, tmp_path: Path) -> None:
    assert run("rename-class", workplace / "runs" / "run", "pin", "nail", "--out", tmp_path / "new") == 0
    assert Detector.load(tmp_path / "new").class_names == tuple(
        "nail" if name == "pin" else name for name in SHAPES_CLASSES
    )
    assert read_json(tmp_path / "new" / "run.json")["classes_changed_from"] == str(workplace / "runs" / "run")


def test_training_again_forgets_what_was_kept(workplace: Path, tmp_path: Path) -> None:
    run_folder = workplace / "runs" / "run"
    detector = Detector.load(run_folder)
    detector.remove_class("star").save(tmp_path / "copy")
    other = Detector.load(tmp_path / "copy")
    image = np.full((100, 100, 3), 90, np.uint8)
    other.add_class("mug", [image], [[[10, 10, 60, 60]]]).save(tmp_path / "copy")
    assert Detector.load(tmp_path / "copy").memory("mug") is not None
    Detector.load(run_folder).save(tmp_path / "copy")
    assert not (tmp_path / "copy" / "examples").exists()
    assert Detector.load(tmp_path / "copy").class_names == SHAPES_CLASSES


def test_mistakes_are_named(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = workplace / "runs" / "run"
    for arguments, part in (
        (["remove-class", first, "mug"], "no class 'mug'"),
        (["rename-class", first, "pin", "club"], "'club' already"),
        (["add-class", first, "--name", "mug", "--data", workplace / "shapes"], "no image shows"),
        (["add-class", first, "--name", "pin", "--data", workplace / "shapes"], "not kept"),
        (["add-class", first, "--name", "mug", "--data", workplace / "none"], "no such folder"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.run_tool(lambda _, arguments=arguments: run(*arguments))  # type: ignore[misc]
        assert end.value.code == 1
        err = capsys.readouterr().err.splitlines()
        assert part in err[-1]
    assert Detector.load(first).class_names == SHAPES_CLASSES
