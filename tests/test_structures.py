from __future__ import annotations

import numpy as np
import pytest
import torch

from spp_det.structures import Detections, Proposals, Target, check_boxes, check_image, empty_boxes

TWO = [[0, 0, 10, 10], [5, 5, 20.5, 30]]
NAMES = ("bus", "car")


def detections() -> Detections:
    return Detections(
        np.array([*TWO, [1, 1, 2, 2]]),
        np.array([0.5, -2.0, 1.5]),
        np.array([1, 0, 1]),
        list(NAMES),  # type: ignore[arg-type]
    )


# --- boxes and images


def test_check_boxes_gives_float32() -> None:
    for given in (TWO, np.array(TWO, np.float64), np.array(TWO, np.float32)):
        boxes = check_boxes(given)
        assert boxes.dtype == np.float32
        assert boxes.tolist() == TWO
    assert check_boxes(empty_boxes()).shape == (0, 4)
    assert check_boxes(np.zeros((0, 4))).dtype == np.float32


@pytest.mark.parametrize(
    ("boxes", "fault"),
    [
        ([0, 0, 1, 1], r"the shape \[N, 4\], not \[4\]"),
        ([[0, 0, 1]], r"the shape \[N, 4\], not \[1, 3\]"),
        ([], r"the shape \[N, 4\], not \[0\]"),
        ([[0, 0, np.nan, 1]], "not finite"),
        ([[0, 0, np.inf, 1]], "not finite"),
        ([[0, -1, 1, 1]], r"box \[0.0, -1.0, 1.0, 1.0\] has a negative coordinate"),
        ([[0, 0, 1, 1], [3, 0, 3, 1]], r"box \[3.0, 0.0, 3.0, 1.0\] is empty"),
        ([[0, 2, 1, 1]], "is empty"),
        ([[16777216, 0, 16777217, 1]], "is empty"),  # float32 cannot tell these two apart
    ],
)
def test_check_boxes_refuses(boxes: object, fault: str) -> None:
    for take in (check_boxes, Proposals):
        with pytest.raises(ValueError, match=fault):
            take(boxes)  # type: ignore[operator]


def test_check_image() -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    assert check_image(image) is image
    for bad in (image[..., 0], image.astype(np.float32), np.zeros((0, 5, 3), np.uint8), np.zeros((3, 5, 4), np.uint8)):
        with pytest.raises(ValueError, match="an image is uint8"):
            check_image(bad)


# --- containers


def test_lengths_and_dtypes() -> None:
    target = Target(np.array(TWO), np.array([3, 0], np.int32), np.array([0, 1]))  # type: ignore[arg-type]
    assert len(target) == 2
    assert (target.boxes.dtype, target.labels.dtype, target.difficult.dtype) == (np.float32, np.int64, np.bool_)
    found = detections()
    assert (found.scores.dtype, found.labels.dtype) == (np.float32, np.int64)
    assert found.class_names == NAMES
    assert len(Proposals(empty_boxes())) == 0


def test_fields_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels has the shape \[1\] where there are 2 boxes"):
        Target(np.array(TWO), np.array([1]), np.array([False, False]))
    with pytest.raises(ValueError, match=r"difficult has the shape \[2, 1\]"):
        Target(np.array(TWO), np.array([1, 1]), np.array([[False], [False]]))
    with pytest.raises(ValueError, match=r"scores has the shape \[0\]"):
        Detections(np.array(TWO), np.array([]), np.array([1, 1]), NAMES)


def test_labels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Target(np.array(TWO), np.array([1, -1]), np.array([False, False]))
    for label in (-1, 2):
        with pytest.raises(ValueError, match=r"outside 0 \.\. 1"):
            Detections(np.array(TWO), np.array([0.0, 0.0]), np.array([0, label]), NAMES)


@pytest.mark.parametrize(
    "index", [np.array([True, False, True]), np.array([0, 2]), slice(None, None, 2), np.array([0, 2], np.uint8)]
)
def test_indexing_selects_from_every_field(index: object) -> None:
    found, some = detections(), detections()[index]  # type: ignore[index]
    assert type(some) is Detections
    assert some.class_names == NAMES
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(some, name), getattr(found, name)[[0, 2]])


def test_indexing_the_others() -> None:
    target = Target(np.array(TWO), np.array([3, 0]), np.array([False, True]))
    easy = target[~target.difficult]
    assert (easy.boxes.tolist(), easy.labels.tolist(), easy.difficult.tolist()) == (TWO[:1], [3], [False])
    proposals = Proposals(np.array(TWO))
    assert proposals[:1].boxes.tolist() == TWO[:1]
    assert len(proposals[np.zeros(2, np.bool_)]) == 0
    assert proposals[np.array([1, 0])].boxes.tolist() == TWO[::-1]
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        proposals[0]  # type: ignore[index]


def test_containers_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Proposals(np.array(TWO)).boxes = empty_boxes()  # type: ignore[misc]


def test_detections_in_words() -> None:
    found = detections()
    assert found.names == ["car", "bus", "car"]
    assert found.above(0.5).scores.tolist() == [0.5, 1.5]
    assert len(found.above(2)) == 0
    rows = list(found)
    assert len(rows) == 3
    box, score, name = rows[1]
    assert (box.tolist(), score, name) == (TWO[1], -2.0, "bus")
    assert isinstance(score, float)


def test_no_detections() -> None:
    none = Detections.empty(["bus"])
    assert len(none) == 0
    assert none.class_names == ("bus",)
    assert list(none) == []
    assert none.to_dict()["boxes"].shape == (0, 4)


def test_to_dict_is_torchvisions() -> None:
    found = detections()
    result = found.to_dict()
    assert {name: tensor.dtype for name, tensor in result.items()} == {
        "boxes": torch.float32, "labels": torch.int64, "scores": torch.float32
    }  # fmt: skip
    assert result["boxes"].tolist() == found.boxes.tolist()
    result["boxes"].zero_()
    assert found.boxes.any()
