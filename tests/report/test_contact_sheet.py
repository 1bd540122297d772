from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from spp_det.datasets import SHAPES_CLASSES, VOCDataset, make_shapes
from spp_det.datasets.memory import PairsDataset
from spp_det.detection.drawing import class_colour, draw_objects
from spp_det.errors import DataError
from spp_det.report.contact_sheet import CAPTION, CELL, GAP, contact_sheet
from spp_det.structures import Target


def a_target(box, difficult=False) -> Target:
    return Target(np.array([box], np.float32), np.array([1]), np.array([difficult]))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> VOCDataset:
    root = tmp_path_factory.mktemp("sheet") / "shapes"
    make_shapes(root, 8, 1)
    return VOCDataset(root, "2007", "trainval", SHAPES_CLASSES)


def test_a_sheet_has_a_cell_for_each_image(dataset: VOCDataset) -> None:
    sheet = contact_sheet(dataset, columns=3)
    pitch = CELL + CAPTION + GAP
    assert sheet.shape == (GAP + 3 * pitch, GAP + 3 * (CELL + GAP), 3)
    assert sheet.dtype == np.uint8
    cells = [sheet[GAP + r * pitch : (r + 1) * pitch, GAP + c * (CELL + GAP) : (c + 1) * (CELL + GAP)]
             for r in range(3) for c in range(3)]  # fmt: skip
    assert [cell.std() > 5 for cell in cells] == [True] * 8 + [False]
    assert contact_sheet(dataset, count=2).shape[1] == GAP + 2 * (CELL + GAP)
    assert np.array_equal(sheet, contact_sheet(dataset, columns=3))


def test_what_looks_odd_comes_first(dataset: VOCDataset) -> None:
    last = dataset.ids[-1]
    alone = contact_sheet(dataset, count=2, first=[last, last, "unknown"])
    cell = alone[GAP : GAP + CELL + CAPTION, GAP : GAP + CELL]
    dataset_of_one = VOCDataset(dataset.annotation_path(last).parent.parent, "2007", "trainval", SHAPES_CLASSES)
    dataset_of_one.ids = (last,)
    assert np.array_equal(cell, contact_sheet(dataset_of_one)[GAP : GAP + CELL + CAPTION, GAP : GAP + CELL])


def test_boxes_lie_where_the_objects_are() -> None:
    """A long image is shrunk to the cell; its box is drawn in the class's colour at the same place."""
    image = np.full((100, 480, 3), 255, np.uint8)
    sheet = contact_sheet(PairsDataset([(image, a_target([240, 0, 480, 100]))], ["a", "b"]))
    picture = sheet[GAP + CELL - 50 : GAP + CELL, GAP : GAP + CELL].astype(int)
    is_box = (abs(picture - class_colour(1)) < 3).all(axis=2)
    assert is_box[:, 120].all()
    assert is_box[-1, 120:].all()
    assert not is_box[:, :119].any()


def test_images_of_any_shape_and_broken_ones(tmp_path: Path) -> None:
    thin = np.zeros((1, 2000, 3), np.uint8), a_target([0, 0, 1000, 1])
    tall = np.zeros((900, 1, 3), np.uint8), a_target([0, 0, 1, 900], True)
    broken = tmp_path / "x.jpg", a_target([0, 0, 1, 1])
    assert contact_sheet(PairsDataset([thin, broken, tall], ["a", "b"])).shape[1] == GAP + 2 * (CELL + GAP)
    with pytest.raises(DataError, match="no image of it can be shown"):
        contact_sheet(PairsDataset([broken], ["a", "b"]))


def test_difficult_objects_stand_in_parentheses(tmp_path: Path) -> None:
    image = np.full((120, 160, 3), 128, np.uint8)
    plain, hard = (draw_objects(image, a_target([20, 40, 150, 110], each), ("a", "nut")) for each in (False, True))
    assert not np.array_equal(plain, hard)
    assert np.array_equal(plain[60:], hard[60:])  # only the label differs
    PillowImage.fromarray(hard).save(tmp_path / "hard.png")
