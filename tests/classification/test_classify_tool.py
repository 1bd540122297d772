"""tools/classify.py from images to scores, and its one line for what does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference.classes import make_folders

from spp_det.classification.feature_files import (
    Features,
    compute_features,
    fit_svm,
    read_features,
    read_svm,
    write_features,
    write_svm,
)
from spp_det.classification.features import ImageFeatures
from spp_det.classification.protocols import PerClassSplits
from spp_det.classification.scoring import score_table, split_accuracies, split_line
from spp_det.datasets import SHAPES_CLASSES, make_shapes
from spp_det.errors import DataError, SppDetError
from spp_det.tooling import console

TOOL = Path(__file__).parent.parent.parent / "tools" / "classify.py"
EXTRACTOR = ImageFeatures(trunk="reference.classes:small_trunk", weights="random", levels=(1, 2), side=32)


def tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, check=False)


def printed(table: object) -> str:
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_folders_from_images_to_accuracies(tmp_path: Path) -> None:
    make_folders(tmp_path / "data" / "train", 10)
    features = compute_features(EXTRACTOR, tmp_path / "data", "train")
    assert features.vectors.shape == (30, 80)
    assert not features.several
    write_features(tmp_path / "features.st", features)
    again = read_features(tmp_path / "features.st")
    np.testing.assert_array_equal(again.vectors, features.vectors)
    assert again.about == features.about
    write_svm(tmp_path / "svm.st", fit_svm(features, C=10.0), features)
    svm = read_svm(tmp_path / "svm.st", again)
    assert (svm.predict(again.vectors) == again.labels).mean() > 0.9
    assert "accuracy in %, 30 images" in printed(score_table(svm, again))
    accuracies = split_accuracies(again, 10.0, PerClassSplits(6, 4, 3))
    assert len(accuracies) == 3
    assert min(accuracies) > 0.5
    line = split_line(again, 10.0, 3, 6, 4)
    assert line.startswith(f"accuracy {100 * np.mean(accuracies):.2f}% ±")


def test_a_devkit_is_scored_by_average_precision(tmp_path: Path) -> None:
    make_shapes(tmp_path / "shapes", 6, 2)
    features = compute_features(EXTRACTOR, tmp_path / "shapes", "trainval", classes=SHAPES_CLASSES)
    assert features.several
    assert features.labels.shape == (6, 7)
    assert (features.labels == 1).any()


def test_a_devkit_of_other_classes_is_a_data_error(tmp_path: Path) -> None:
    make_shapes(tmp_path / "shapes", 6, 2)
    with pytest.raises(DataError, match="unknown class"):
        compute_features(EXTRACTOR, tmp_path / "shapes", "trainval")


def some(several: bool = False, names: tuple[str, ...] = ("a", "b"), side: int = 32) -> Features:
    vectors = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    labels = np.arange(8) % 2
    presence = np.where(labels[:, None] == np.arange(2), 1, -1).astype(np.int8)
    return Features(vectors, presence if several else labels, names, {"side": side})


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "svm.st"
    features = some(several=True)
    write_svm(path, fit_svm(features), features)
    assert "average precision in %" in printed(score_table(read_svm(path, features), features))
    with pytest.raises(DataError, match=r"svm.st: is for 2 classes \(a, b\), and the features are of 3 classes"):
        read_svm(path, some(several=True, names=("a", "b", "c")))
    with pytest.raises(DataError, match=r"was learnt from other features \(side differ\)"):
        read_svm(path, some(several=True, side=64))
    with pytest.raises(DataError, match=r"svm.st: is for"):
        read_svm(path, some())
    with pytest.raises(DataError, match="holds no image features"):
        read_features(path)
    with pytest.raises(SppDetError, match="one class an image"):
        split_line(features, 1.0, 2, 1, 1)


def test_the_tool_itself(tmp_path: Path) -> None:
    make_folders(tmp_path / "data", 4)
    small = ("--trunk", "reference.classes:small_trunk", "--weights", "random", "--side", "32", "--levels", "1", "2")
    out = tmp_path / "features.st"
    write_features(out, compute_features(EXTRACTOR, tmp_path / "data"))
    done = tool("test", "--features", out, "--splits", "2", "--train", "3", "--test", "1")
    assert done.returncode == 0, done.stderr
    assert "over 2 splits, 3 classes" in done.stdout
    done = tool("features", "--data", tmp_path / "none", "--out", out, *small)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert tool("test", "--features", out).returncode == 2
