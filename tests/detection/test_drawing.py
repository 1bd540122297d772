"""Drawing: what changes lies where it should, at every size."""

from __future__ import annotations

import numpy as np
import pytest

from spp_det.detection.drawing import class_colour, draw, save_image
from spp_det.errors import DataError
from spp_det.images import read_image
from spp_det.structures import Detections

NAMES = ("cat", "Zürich")


def gray(height, width):
    return np.full((height, width, 3), 90, np.uint8)


def one(box, score=1.0, label=0):
    return Detections([box], [score], [label], NAMES)


@pytest.mark.parametrize("scale", [1, 4])
def test_edges_and_a_label_and_nothing_else(scale):
    image = gray(200 * scale, 300 * scale)
    x1, y1, x2, y2 = (v * scale for v in (50, 60, 250, 180))
    drawn = draw(image, one([x1, y1, x2, y2]))
    changed = (drawn != image).any(axis=2)
    assert changed[y1:y2, [x1, x2 - 1]].all()
    assert changed[[y1, y2 - 1], x1:x2].all()
    assert not changed[y1 + 4 * scale : y2 - 4 * scale, x1 + 4 * scale : x2 - 4 * scale].any()
    assert not changed[:, : x1 - 1].any()
    assert not changed[y2:].any()
    plate = changed[:y1, x1:]
    assert plate.sum() > 150 * scale**2  # the label stands above the box
    assert (drawn[y2 - 1, x1] == class_colour(0)).all()


def test_the_image_given_stays():
    image = gray(100, 100)
    drawn = draw(image, one([10, 30, 60, 80]))
    assert (image == 90).all()
    assert drawn.dtype == np.uint8
    assert drawn.shape == image.shape
    assert drawn.flags.writeable


def test_weak_detections_are_left_out():
    image = gray(100, 100)
    assert (draw(image, one([10, 30, 60, 80], score=-0.1)) == image).all()
    assert (draw(image, one([10, 30, 60, 80], score=-0.1), min_score=-1) != image).any()
    assert (draw(image, Detections.empty(NAMES)) == image).all()


def test_classes_differ_in_colour():
    colours = np.array([class_colour(label) for label in range(20)], float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1000 * np.eye(20)
    assert distance.min() > 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (8, 8)])
def test_tiny_images(shape):
    height, width = shape
    assert draw(gray(height, width), one([0, 0, width, height], label=1)).shape == (height, width, 3)


def test_a_label_at_the_border_stays_inside():
    image = gray(100, 300)
    changed = (draw(image, one([280, 0, 300, 60])) != image).any(axis=2)
    assert changed[:12, 200:280].any()  # shifted left, and below the upper edge of the box


@pytest.mark.parametrize(("ending", "tolerance"), [(".png", 0), (".jpg", 12), (".JPEG", 12)])
def test_save_and_read(tmp_path, ending, tolerance):
    image = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 255, (8, 9, 1), np.uint8), 16, 0), 16, 1)
    image = np.repeat(image, 3, axis=2)
    save_image(tmp_path / f"picture{ending}", image)
    again = read_image(tmp_path / f"picture{ending}")
    assert again.shape == image.shape
    assert np.abs(again.astype(int) - image).max() <= tolerance
    assert [p.name for p in tmp_path.iterdir()] == [f"picture{ending}"]


def test_save_needs_an_image_format(tmp_path):
    for name in ("picture", "picture.txt"):
        with pytest.raises(DataError, match="not an image format"):
            save_image(tmp_path / name, gray(4, 4))
