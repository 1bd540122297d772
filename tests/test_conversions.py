"""Detections as other programs take them, read back by those programs."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import supervision

from spp_det.errors import SppDetError
from spp_det.structures import Detections

NAMES = ("cat", "dog")


def found(probabilities: list[float] | None = None) -> Detections:
    boxes = np.array([[10, 20, 40, 80], [0, 0, 50.5, 60.25]], np.float32)
    chances = None if probabilities is None else np.array(probabilities, np.float32)
    return Detections(boxes, np.array([1.25, -0.5], np.float32), np.array([1, 0]), NAMES, chances)


def test_coco() -> None:
    rows = found().to_coco(7, first_id=3)
    assert rows[0] == {
        "id": 3,
        "image_id": 7,
        "category_id": 2,
        "iscrowd": 0,
        "bbox": [10.0, 20.0, 30.0, 60.0],
        "area": 1800.0,
        "score": 1.25,
    }
    assert (rows[1]["id"], rows[1]["bbox"]) == (4, [0.0, 0.0, 50.5, 60.25])
    assert Detections.empty(NAMES).to_coco(1) == []


@pytest.mark.parametrize("chances", [None, [0.75, 0.25]])
def test_supervision(chances: list[float] | None) -> None:
    given = found(chances)
    theirs = given.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    assert len(theirs) == 2
    np.testing.assert_array_equal(theirs.xyxy, given.boxes)
    np.testing.assert_array_equal(theirs.area, [1800, 50.5 * 60.25])
    assert theirs.confidence.tolist() == (chances or [1.25, -0.5])
    dogs = theirs[theirs.class_id == 1]
    assert (dogs.data["class_name"].tolist(), dogs.data["score"].tolist()) == (["dog"], [1.25])
    drawn = supervision.BoxAnnotator().annotate(np.zeros((100, 100, 3), np.uint8), theirs)
    assert drawn.any()
    assert not given.boxes[0].any() or theirs.xyxy is not given.boxes
    nothing = Detections.empty(NAMES).to_supervision()
    assert (len(nothing), nothing.xyxy.shape) == (0, (0, 4))


class FakeFiftyOne:
    """Where the real one is not installed: its two classes, which keep what they are given."""

    class Detection(dict):
        """A label."""

    class Detections(dict):
        """A list of them."""


def test_fiftyone(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("fiftyone") is None:  # it wants a database of its own, so it is not among the extras
        monkeypatch.setitem(sys.modules, "fiftyone", FakeFiftyOne)  # type: ignore[arg-type]
    labels = found([0.75, 0.25]).to_fiftyone((100, 200))["detections"]
    assert [label["label"] for label in labels] == ["dog", "cat"]
    assert labels[0]["bounding_box"] == pytest.approx([0.05, 0.2, 0.15, 0.6])
    assert [(label["confidence"], label["score"]) for label in labels] == [(0.75, 1.25), (0.25, -0.5)]
    assert Detections.empty(NAMES).to_fiftyone((10, 10))["detections"] == []


@pytest.mark.parametrize("name", ["supervision", "fiftyone"])
def test_what_is_not_installed_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    arguments = ((10, 10),) if name == "fiftyone" else ()
    with pytest.raises(SppDetError, match=f"{name} is not installed: pip install {name}"):
        getattr(found(), f"to_{name}")(*arguments)
