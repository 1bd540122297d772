from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.boxes import iou_of_devkit, iou_of_pixels

from spp_det import boxes as ops
from spp_det.structures import check_boxes, empty_boxes

quick = settings(max_examples=100, deadline=None)


def boxes_of(least: float, most: float, whole: bool = False, min_size: int = 0, max_size: int = 5):  # type: ignore[no-untyped-def]
    """A strategy for float32 [N, 4]; sides of 1 at least."""
    number = st.integers(int(least), int(most) - 1) if whole else st.floats(least, most - 1, width=32)
    side = st.integers(1, 12) if whole else st.floats(1, most, width=32)
    box = st.tuples(number, number, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
    return st.lists(box, min_size=min_size, max_size=max_size).map(lambda b: np.array(b, np.float32).reshape(-1, 4))


def test_area() -> None:
    assert ops.area(np.array([[0, 0, 1, 1], [2, 3, 4.5, 7]], np.float32)).tolist() == [1, 10]
    assert ops.area(empty_boxes()).shape == (0,)


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 2, 2]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [1, 1, 3, 3], [2, 0, 4, 2], [5, 5, 6, 6], [0, 0, 1, 1]], np.float32)
    np.testing.assert_allclose(ops.iou(a, b), [[1, 1 / 3, 1 / 7, 0, 0, 1 / 4]], rtol=1e-6)
    assert ops.iou(a, b).dtype == np.float32


@quick
@given(boxes_of(0, 12, whole=True), boxes_of(0, 12, whole=True))
def test_iou_counts_pixels(a: np.ndarray, b: np.ndarray) -> None:
    result = ops.iou(a, b)
    assert result.shape == (len(a), len(b))
    np.testing.assert_allclose(result, iou_of_pixels(a, b), rtol=1e-6)
    np.testing.assert_array_equal(result, ops.iou(b, a).T)


@quick
@given(boxes_of(1, 500, whole=True, min_size=2, max_size=2))
def test_iou_is_the_devkits(annotations: np.ndarray) -> None:
    """After the one conversion at reading, no + 1 is needed anywhere."""
    read = annotations - np.array([1, 1, 0, 0], np.float32)
    assert ops.iou(read[:1], read[1:])[0, 0] == pytest.approx(iou_of_devkit(*annotations.astype(int)), rel=1e-6)


@quick
@given(boxes_of(0, 1000, min_size=1), boxes_of(0, 1000, min_size=1))
def test_iou_is_between_0_and_1(a: np.ndarray, b: np.ndarray) -> None:
    result = ops.iou(a, b)
    assert (result >= 0).all()
    assert (result <= 1 + 1e-6).all()
    np.testing.assert_allclose(np.diag(ops.iou(a, a)), 1, rtol=1e-6)


def test_iou_of_none() -> None:
    some = np.array([[0, 0, 1, 1]], np.float32)
    assert ops.iou(empty_boxes(), some).shape == (0, 1)
    assert ops.iou(some, empty_boxes()).shape == (1, 0)


@quick
@given(boxes_of(-200, 1000), st.integers(1, 600), st.integers(1, 600))
def test_clip(boxes: np.ndarray, height: int, width: int) -> None:
    clipped = ops.clip(boxes, (height, width))
    assert clipped.dtype == np.float32
    assert (clipped >= 0).all()
    assert (clipped <= [width, height, width, height]).all()
    np.testing.assert_array_equal(ops.clip(clipped, (height, width)), clipped)
    inside = (boxes >= 0).all(1) & (boxes <= [width, height, width, height]).all(1)
    np.testing.assert_array_equal(clipped[inside], boxes[inside])
    outside = (boxes[:, 2:] <= 0).any(1) | (boxes[:, :2] >= [width, height]).any(1)
    np.testing.assert_array_equal(ops.nonempty(clipped), ~outside)
    check_boxes(clipped[ops.nonempty(clipped)])


@quick
@given(boxes_of(0, 12, whole=True, min_size=1), st.integers(24, 30))
def test_flip(boxes: np.ndarray, width: int) -> None:
    flipped = ops.flip(boxes, width)
    assert flipped.dtype == np.float32
    np.testing.assert_array_equal(ops.flip(flipped, width), boxes)
    picture = np.zeros((24, width), bool)
    x1, y1, x2, y2 = boxes[0].astype(int)
    picture[y1:y2, x1:x2] = True
    rows, columns = np.nonzero(picture[:, ::-1])
    assert flipped[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@quick
@given(boxes_of(0, 300), *[st.integers(1, 2000)] * 4)
def test_rescale(boxes: np.ndarray, height: int, width: int, new_height: int, new_width: int) -> None:
    size, new_size = (height, width), (new_height, new_width)
    scaled = ops.rescale(boxes, size, new_size)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(ops.rescale(scaled, new_size, size), boxes, rtol=1e-5, atol=1e-30)  # no denormals
    whole = np.array([[0, 0, width, height]], np.float32)
    np.testing.assert_allclose(ops.rescale(whole, size, new_size), [[0, 0, new_width, new_height]], rtol=1e-6)
    np.testing.assert_array_equal(ops.rescale(boxes, size, size), boxes)


def test_encode_by_hand() -> None:
    box, target = np.array([[0, 0, 10, 20]], np.float32), np.array([[5, 0, 25, 10]], np.float32)
    expected = [[(15 - 5) / 10, (5 - 10) / 20, np.log(2), np.log(0.5)]]
    np.testing.assert_allclose(ops.encode(box, target), expected, rtol=1e-6)
    assert ops.encode(box, box).tolist() == [[0, 0, 0, 0]]


@quick
@given(boxes_of(0, 500, min_size=4, max_size=4), boxes_of(0, 500, min_size=4, max_size=4))
def test_decode_undoes_encode(boxes: np.ndarray, targets: np.ndarray) -> None:
    offsets = ops.encode(boxes, targets)
    assert offsets.dtype == np.float32
    decoded = ops.decode(boxes, offsets)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, targets, atol=0.02)


@quick
@given(boxes_of(0, 300, min_size=3, max_size=3), boxes_of(0, 300, min_size=3, max_size=3), st.floats(0.5, 4))
def test_offsets_do_not_depend_on_the_scale(boxes: np.ndarray, targets: np.ndarray, factor: float) -> None:
    scaled = ops.encode(boxes * np.float32(factor), targets * np.float32(factor))
    np.testing.assert_allclose(scaled, ops.encode(boxes, targets), rtol=1e-3, atol=1e-3)


def test_decode_bounds_what_would_overflow() -> None:
    box = np.array([[0, 0, 10, 10]], np.float32)
    decoded = ops.decode(box, np.array([[0, 0, 500, -500]], np.float32))
    assert np.isfinite(decoded).all()
    assert decoded[0, 2] - decoded[0, 0] == pytest.approx(10_000, rel=1e-4)
    assert decoded[0, 3] == decoded[0, 1] == 5


def test_no_box_stays_no_box() -> None:
    none = empty_boxes()
    for result in (
        ops.clip(none, (5, 5)), ops.flip(none, 5), ops.rescale(none, (5, 5), (6, 6)), ops.encode(none, none),
        ops.decode(none, none),
    ):  # fmt: skip
        assert result.shape == (0, 4)
        assert result.dtype == np.float32


def test_inputs_are_left_alone() -> None:
    boxes = np.array([[1, 2, 30, 40]], np.float32)
    boxes.setflags(write=False)
    for result in (ops.clip(boxes, (9, 9)), ops.flip(boxes, 50), ops.rescale(boxes, (9, 9), (8, 8))):
        assert not np.shares_memory(result, boxes)
