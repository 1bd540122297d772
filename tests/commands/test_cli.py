"""spp-det on a run of a few seconds: what it prints and writes, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from reference.without_torch import run_without_torch

from spp_det import cli
from spp_det.datasets import make_shapes
from spp_det.detection import Detector
from spp_det.images import read_image
from spp_det.installation import REQUIRED
from spp_det.structures import Proposals

ROOT = Path(__file__).parent.parent.parent
QUICK = [
    "data.options={train=4, test=2}",
    "maps.scales=[160]",
    "finetune.iterations=10",
    "finetune.hidden=[16, 16]",
    "proposals.max_windows=100",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    make_shapes(folder / "shapes", 4, 2)
    assert cli.run(["train", *training(folder), "--out", str(folder / "runs" / "run")]) == 0
    return folder


def training(folder: Path) -> list[str]:
    settings = [part for text in QUICK for part in ("--set", text)]
    return ["--config", str(ROOT / "configs" / "shapes.toml"), "--data", str(folder / "shapes"), *settings]


@pytest.fixture
def run(workplace: Path) -> Path:
    return workplace / "runs" / "run"


@pytest.fixture
def pictures(workplace: Path) -> list[Path]:
    return sorted((workplace / "shapes").rglob("JPEGImages/test_*.jpg"))


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """(the exit code, standard output, standard error)."""
    capsys.readouterr()
    code = run_as_a_program([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def run_as_a_program(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        cli.run_tool(lambda _: cli.run(arguments))
    return int(end.value.code or 0)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for commands in cli.PANELS.values():
        for name in commands:
            assert f" {name} " in out
            assert call(capsys, name, "--help")[0] == 0


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["detect"], ["fly"], ["detect", "x.jpg", "--every", "0"], ["detect", "x", "--save", "gif"]):
        code, out, err = call(capsys, *arguments)
        assert (code, out) == (2, "")
        assert "Usage" in err
    both = ["compress", "x", "--out", "y"]
    assert call(capsys, *both, "--rank", "2", "--energy", "0.5")[0] == 2


def test_a_users_mistake_is_one_line(capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path) -> None:
    for arguments in (
        ["detect", tmp_path / "none.jpg", "--run", run],
        ["detect", tmp_path, "--run", run],
        ["detect", tmp_path / "*.jpg", "--run", run],
        ["status", tmp_path / "none"],
        ["status", tmp_path],
        ["test", tmp_path],
        ["compress", tmp_path, "--out", tmp_path / "new"],
        ["check-data", tmp_path / "none"],
        ["train", "--config", tmp_path / "none.toml"],
    ):
        code, out, err = call(capsys, *arguments)
        assert (code, out) == (1, ""), arguments
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert str(tmp_path) in err
    assert "no file is called so" in call(capsys, "detect", tmp_path / "*.jpg", "--run", run)[2]


def test_every_command_says_the_same_of_a_run_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments in (["test"], ["report"], ["calibrate"], ["status"], ["export", "--out", tmp_path / "out"]):
        for folder, what in ((tmp_path / "none", "there is no such run"), (tmp_path, "holds no ")):
            code, _, err = call(capsys, arguments[0], folder, *arguments[1:])
            assert code == 1
            assert err.startswith(f"error: {folder}: {what}"), err


def test_stopping_it_is_exit_code_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spp_det.installation.examine", stopped)
    code, _, err = call(capsys, "doctor")
    assert code == 130
    assert "goes on from here" in err


def test_every_form_says_the_same(
    capsys: pytest.CaptureFixture[str], run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    forms = [part for form in ("drawn", "json", "coco", "csv", "yolo") for part in ("--save", form)]
    arguments = ["detect", *pictures, "--run", run, "--out", tmp_path, "--min-score", "-0.8", "--json", *forms]
    code, out, err = call(capsys, *arguments)
    assert code == 0
    assert "2 images" in err
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines == json.loads((tmp_path / "detections.json").read_text())
    assert [line["image"] for line in lines] == [str(path) for path in pictures]
    assert sum(len(line["detections"]) for line in lines) > 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "detections.csv").read_text())))
    coco = json.loads((tmp_path / "coco.json").read_text())
    found = [(line, one) for line in lines for one in line["detections"]]
    assert len(found) == len(rows) == len(coco["annotations"])
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    for (line, one), row, annotation in zip(found, rows, coco["annotations"], strict=True):
        assert (row["image"], row["class"]) == (line["image"], one["class"])
        assert [float(row[key]) for key in ("x1", "y1", "x2", "y2")] == one["box"]
        x, y, width, height = annotation["bbox"]
        assert [x, y, x + width, y + height] == pytest.approx(one["box"], abs=0.02)
        assert (names[annotation["category_id"]], files[annotation["image_id"]]) == (one["class"], line["image"])
        assert annotation["score"] == one["score"] == float(row["score"])
    classes = (tmp_path / "classes.txt").read_text().split()
    for line, path in zip(lines, pictures, strict=True):
        assert read_image(tmp_path / f"{path.stem}.jpg").shape == read_image(path).shape
        text = (tmp_path / "labels" / f"{path.stem}.txt").read_text().splitlines()
        for written, one in zip(text, line["detections"], strict=True):
            label, x, y, width, height = map(float, written.split())
            assert classes[int(label)] == one["class"]
            box = [(x - width / 2) * line["width"], (y - height / 2) * line["height"]]
            assert box == pytest.approx(one["box"][:2], abs=0.02)


def test_a_broken_picture_among_good_ones(
    capsys: pytest.CaptureFixture[str], run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(pictures[0], folder / "b.jpg")
    (folder / "a.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")
    code, out, err = call(capsys, "detect", folder, "--run", run, "--out", tmp_path / "out")
    assert code == 1
    assert f"error: {folder / 'a.jpg'}: is not an image" in err
    assert out.startswith(f"{folder / 'b.jpg'}: ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.jpg"]


class DyingProposals:
    """Ends its process, as the system does where memory runs out, at an image that is 13 pixels high."""

    def propose(self, image: np.ndarray, image_id: str) -> Proposals:
        if len(image) == 13:
            os._exit(9)
        return Proposals(np.array([[0, 0, 20, 13]], np.float32))


def test_processes_change_nothing_of_what_is_found(
    capsys: pytest.CaptureFixture[str], run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    words = ["detect", pictures[0], tmp_path / "broken.mp4", tmp_path / "broken.jpg", pictures[1], "--run", run]
    words += ["--json", "--min-score", "-0.9"]
    alone, ahead = (call(capsys, *words, "--workers", count) for count in ("0", "1"))
    assert alone[:2] == ahead[:2]
    assert faults(alone[2]) == faults(ahead[2])
    assert alone[0] == 1
    assert [json.loads(line)["image"] for line in alone[1].splitlines()] == [str(path) for path in pictures]
    named = [line.split(": ")[1] for line in faults(alone[2])]
    assert named == [str(tmp_path / "broken.mp4"), str(tmp_path / "broken.jpg")]


def faults(err: str) -> list[str]:
    """The errors on standard error, without the progress that a slow machine shows between them."""
    return [line for line in err.splitlines() if line.startswith("error: ")]


def test_a_process_that_dies_is_told_with_the_picture(
    capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        PillowImage.new("RGB", (20, 13 if number == 3 else 14)).save(tmp_path / f"{number}.png")
    detector = Detector.load(run)
    detector.proposals = DyingProposals()
    monkeypatch.setattr("spp_det.pipeline.detecting._load", lambda _: detector)
    code, out, err = call(capsys, "detect", tmp_path, "--run", run, "--workers", "1", "--json")
    assert (code, len(out.splitlines())) == (1, 3)
    died = "the process that made its windows has died (killed, or out of memory?)"
    assert faults(err) == [f"error: {tmp_path / '3.png'}: {died}"]


def test_export_and_detect_by_onnx(
    capsys: pytest.CaptureFixture[str], run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    code, out, _ = call(capsys, "export", run, "--out", tmp_path / "onnx", "--json")
    assert (code, set(json.loads(out)["bytes"])) == (0, {"trunk.onnx", "windows.onnx", "head.onnx", "layers.bin"})
    words = ["detect", *pictures, "--json", "--min-score", "-0.9"]
    code, out, _ = call(capsys, *words, "--onnx", tmp_path / "onnx")
    assert code == 0
    detector = Detector.load(run, precision="float32")
    for path, line in zip(pictures, out.splitlines(), strict=True):
        found, expected = json.loads(line)["detections"], detector.detect(path, min_score=-0.9)
        assert [one["class"] for one in found] == expected.names
        np.testing.assert_allclose([one["score"] for one in found], expected.scores, atol=2e-4)
    assert call(capsys, *words, "--run", run, "--onnx", tmp_path)[0] == 2
    code, _, err = call(capsys, *words, "--onnx", tmp_path)
    assert (code, err) == (1, f"error: {tmp_path}: holds no exported detector; spp-det export writes one\n")


def test_two_pictures_of_one_name(
    capsys: pytest.CaptureFixture[str], run: Path, pictures: list[Path], tmp_path: Path
) -> None:
    shutil.copy(pictures[0], tmp_path / pictures[0].name)
    both = [pictures[0], tmp_path / pictures[0].name]
    assert "one name" in call(capsys, "detect", *both, "--run", run, "--out", tmp_path / "out")[2]
    assert "overwritten" in call(capsys, "detect", both[1], "--run", run, "--out", tmp_path)[2]
    assert call(capsys, "detect", *both, "--run", run, "--json")[0] == 0


def test_a_picture_from_standard_input(
    capsys: pytest.CaptureFixture[str], run: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file = call(capsys, "detect", pictures[0], "--run", run, "--json", "--min-score", "-0.9")[1]
    for content, code in ((pictures[0].read_bytes(), 0), (b"no picture", 1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        ended, out, err = call(capsys, "detect", "-", "--run", run, "--json", "--min-score", "-0.9")
        assert ended == code
        if code:
            assert err == "error: standard input: is not an image that can be read\n"
        else:
            assert json.loads(out) == {**json.loads(from_file), "image": "-"}


def test_a_video(capsys: pytest.CaptureFixture[str], run: Path, pictures: list[Path], tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    image = cv2.resize(cv2.imread(str(pictures[0])), (160, 120))
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (160, 120))
    for _ in range(5):
        writer.write(image)
    writer.release()
    code, out, _ = call(
        capsys, "detect", clip, "--run", run, "--every", "2", "--json", "--save", "drawn", "--out", tmp_path / "out"
    )
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["frame"], line["seconds"]) for line in lines] == [(0, 0.0), (2, 0.2), (4, 0.4)]
    drawn = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert (drawn.get(cv2.CAP_PROP_FRAME_COUNT), drawn.get(cv2.CAP_PROP_FPS)) == (3, 5)
    clip.write_bytes(np.zeros(100, np.uint8).tobytes())
    code, _, err = call(capsys, "detect", clip, "--run", run)
    assert (code, err.count("\n")) == (1, 1)
    assert str(clip) in err


def test_status_says_what_is_there_and_why_not(
    capsys: pytest.CaptureFixture[str], workplace: Path, run: Path, tmp_path: Path
) -> None:
    def states(*arguments: str | Path) -> dict[str, tuple[str, str]]:
        code, out, _ = call(capsys, "status", *arguments, "--json")
        assert code == 0
        return {row["stage"]: (row["state"], row["why"]) for row in json.loads(out)}

    done = states(run)
    assert {name: state for name, (state, _) in done.items() if name != "metrics.json"} | {} == {
        "proposals": "done",
        "maps": "done",
        "fine-tuning": "done",
        "SVMs": "done",
        "box regression": "done",
        "detector": "done",
        "proposals, test": "missing",
        "detections, test": "missing",
    }
    without = run_without_torch("from spp_det.cli import main; main()", "status", str(run), "--json")
    assert without.returncode == 0, without.stderr
    assert json.loads(without.stdout) == json.loads(call(capsys, "status", run, "--json")[1])
    changed = states(run, "--set", "svm.C=0.5")
    assert changed["SVMs"] == ("stale", "svm.C was 0.001, is 0.5")
    assert changed["fine-tuning"][0] == "done"
    assert changed["detector"] == ("stale", "made with other SVMs")
    later = states(run, "--set", "finetune.iterations=11")
    assert later["SVMs"] == ("stale", "the fine-tuning changed")
    copied = Path(shutil.copytree(workplace / "runs", tmp_path / "runs"))
    folder = next((copied / "store" / "proposals").iterdir())
    (folder / "stage.json").unlink()
    index = next(folder.glob("*.index"))
    index.write_bytes(index.read_bytes()[:-2])  # its last line is not whole
    facts = json.loads((copied / "run" / "training.json").read_text())
    (copied / "run" / "training.json").write_text(json.dumps({**facts, "store": str(copied / "store")}))
    (copied / "run" / "detector.json").unlink()
    stopped = states(copied / "run")
    assert stopped["proposals"] == ("partial", "3 of 4 images")
    assert stopped["detector"][0] == "missing"
    assert stopped["maps"][0] == "done"


def test_testing_and_status_after_it(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    code, out, err = call(capsys, "test", run, "--json")
    assert code == 0
    assert json.loads(out) == json.loads((run / "metrics.json").read_text())
    assert "average precision" in err
    rows = json.loads(call(capsys, "status", run, "--json")[1])
    assert {row["stage"]: row["state"] for row in rows}["metrics.json"] == "done"


def test_check_data(capsys: pytest.CaptureFixture[str], workplace: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(workplace / "shapes", tmp_path / "shapes"))
    classes = [part for name in ("disc", "ring", "star", "pin", "club", "pair", "stack") for part in ("--class", name)]
    assert call(capsys, "check-data", copied, *classes)[0] == 0
    broken = min(copied.rglob("JPEGImages/train_*.jpg"))
    broken.write_bytes(b"")
    code, out, _ = call(capsys, "check-data", copied, *classes, "--json")
    assert code == 1
    report = json.loads(out)[0]
    assert report["images"] == 4
    assert str(broken) in report["faults"][0]


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = call(capsys, "doctor", "--json")
    assert (code, json.loads(out)["torch"]["state"]) == (0, "ok")
    assert "processor" in call(capsys, "doctor")[1]
    monkeypatch.setitem(REQUIRED, "no-such-package", "nothing")
    code, out, _ = call(capsys, "doctor", "--json")
    assert (code, json.loads(out)["no-such-package"]["state"]) == (1, "missing")


def test_doctor_knows_what_the_package_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(REQUIRED) == {line.partition(">=")[0] for line in project["dependencies"]}
    assert project["scripts"] == {"spp-det": "spp_det.cli:main"}
