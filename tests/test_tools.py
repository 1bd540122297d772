"""What a user's mistake looks like on the command line: one line that names the file and the fault, exit code 1."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from spp_det.datasets import make_shapes

ROOT = Path(__file__).parent.parent
QUICK = [
    "data.options={train=4, test=2}",
    "maps.scales=[160]",
    "finetune.iterations=10",
    "finetune.hidden=[16, 16]",
    "proposals.max_windows=100",
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(root, 4, 2)
    return root


@pytest.fixture
def copy(shapes: Path, tmp_path: Path) -> Path:
    """The data set, to be broken."""
    return Path(shutil.copytree(shapes, tmp_path / "shapes"))


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "tools" / name), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def train(data: Path, *arguments: str | Path, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    config = ROOT / "configs" / "shapes.toml"
    out = data.parent / "runs" / "run"
    return tool(
        "train_net.py", "--config", config, "--data", data, "--out", out, *arguments, "--set", *QUICK, *settings
    )


def assert_one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


def first_image(data: Path) -> Path:
    return min(data.rglob("JPEGImages/train_*.jpg"))


def test_a_truncated_image(copy: Path) -> None:
    image = first_image(copy)
    image.write_bytes(image.read_bytes()[:-2000])
    assert_one_line(train(copy), str(image), "broken image")
    assert not list((copy.parent / "runs").rglob("detector.json"))


def test_a_missing_image(copy: Path) -> None:
    first_image(copy).unlink()
    assert_one_line(train(copy), str(first_image_name(copy)))


def first_image_name(data: Path) -> Path:
    return data / "VOC2007" / "JPEGImages" / "train_00000.jpg"


def test_bad_images_are_skipped_and_listed_on_request(copy: Path) -> None:
    image = first_image(copy)
    image.write_bytes(b"not an image")
    done = train(copy, "--skip-bad-images")
    assert done.returncode == 0, done.stderr
    assert "3 images" in done.stdout
    assert f"left out {image.stem}" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [("</annotation>", "", ""), ("<xmax>", "<xmax>9", "box"), ("<name>", "<name>un", "unknown class")],
)
def test_a_broken_annotation(copy: Path, old: str, new: str, part: str) -> None:
    path = next(p for p in sorted(copy.rglob("Annotations/train_*.xml")) if old in p.read_text())
    path.write_text(path.read_text().replace(old, new, 1))
    assert_one_line(train(copy), str(path), part)


def test_an_unknown_key_and_a_mistyped_value(shapes: Path) -> None:
    assert_one_line(train(shapes, settings=("svm.D=1",)), "shapes.toml", "`D`")
    assert_one_line(train(shapes, settings=("svm.C=much",)), "shapes.toml", "$.svm.C")


def test_a_data_set_that_is_not_there(tmp_path: Path) -> None:
    config = ROOT / "configs" / "voc07_lite0.toml"
    done = tool("train_net.py", "--config", config, "--data", tmp_path / "none", "--out", tmp_path / "run")
    assert_one_line(done, str(tmp_path / "none"))


def test_weights_of_the_wrong_shapes(shapes: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"features.0.weight": np.zeros((3, 3), np.float32)}, path)
    assert_one_line(train(shapes, settings=("trunk.name=alexnet", f"trunk.weights={path}")), str(path))


def test_proposals_for_another_image(shapes: Path, tmp_path: Path) -> None:
    path = tmp_path / "boxes.npz"
    names = [f"train_{number:05d}" for number in range(4)]
    np.savez(path, **{name: np.array([[0, 0, 5000, 50]], np.float32) for name in names})
    assert_one_line(
        train(shapes, settings=("proposals.method=file", f"proposals.file={path}")), str(path), "train_0000"
    )


def test_a_run_that_is_not_there_or_not_whole(tmp_path: Path) -> None:
    assert_one_line(tool("test_net.py", "--run", tmp_path / "none"), str(tmp_path / "none"))
    assert_one_line(tool("detect.py", "--run", tmp_path, ROOT / "docs" / "images" / "shapes.jpg"), str(tmp_path))


def test_a_tensor_of_a_run_that_does_not_fit(shapes: Path, tmp_path: Path) -> None:
    done = train(shapes)
    assert done.returncode == 0, done.stderr
    run = Path(shutil.copytree(shapes.parent / "runs" / "run", tmp_path / "run"))
    save_file({"fc6.weight": np.zeros((2, 2), np.float32)}, run / "head.safetensors")
    assert_one_line(tool("detect.py", "--run", run, first_image(shapes)), str(run / "head.safetensors"))
    (run / "svms.safetensors").write_bytes(b"nothing")
    assert_one_line(tool("test_net.py", "--run", run), str(run))


def test_a_picture_that_is_not_there(shapes: Path, tmp_path: Path) -> None:
    assert train(shapes).returncode == 0
    run = shapes.parent / "runs" / "run"
    assert_one_line(tool("detect.py", "--run", run, tmp_path / "none.jpg", "--out", tmp_path / "out"), "none.jpg")
    assert not (tmp_path / "out").exists()


def test_wrong_usage_is_exit_code_2() -> None:
    assert tool("train_net.py").returncode == 2
    assert tool("test_net.py", "--run", "x", "--timing", "many").returncode == 2
