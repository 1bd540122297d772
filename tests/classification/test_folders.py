"""Folders of classes: what is read from them, and which line a faulty one gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from reference.classes import CLASSES, make_folders

from spp_det.classification.folders import read_folders, read_scaled
from spp_det.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_folders(tmp_path / "train", 2)


def test_classes_are_the_sorted_folders_and_labels_go_with_the_paths(root: Path) -> None:
    (root / "dots" / "notes.txt").write_text("no image")
    images = read_folders(root)
    assert images.class_names == CLASSES
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert [path.parent.name for path in images.paths] == [CLASSES[label] for label in images.labels]
    assert all(path.suffix == ".png" for path in images.paths)


def test_the_order_of_the_classes_may_be_given(root: Path) -> None:
    images = read_folders(root, ("dots", "across", "along"))
    assert images.paths[0].parent.name == "dots"
    assert images.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_test_may_be_of_some_classes_only(root: Path) -> None:
    shutil.rmtree(root / "along")
    assert read_folders(root, CLASSES).labels.tolist() == [0, 0, 2, 2]


def test_faults_are_one_line_that_names_the_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: there is no such folder"):
        read_folders(tmp_path / "none")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"bare: holds no folder"):
        read_folders(tmp_path / "bare")
    (root / "hollow").mkdir()
    with pytest.raises(DataError, match=r"hollow: is the folder of a class, and holds no image"):
        read_folders(root)
    with pytest.raises(DataError, match=r"hollow: is none of the 3 classes of the classifier"):
        read_folders(root, CLASSES)


def test_an_image_comes_at_its_short_side(root: Path) -> None:
    image = read_scaled(root / "dots" / "000.png", 40)
    assert min(image.shape[:2]) == 40


def test_a_thread_of_an_image_is_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(np.zeros((2, 1000, 3), np.uint8)).save(tmp_path / "thread.png")
    with pytest.raises(DataError, match=r"thread.png: is 1000 x 2 pixels"):
        read_scaled(tmp_path / "thread.png", 256)
