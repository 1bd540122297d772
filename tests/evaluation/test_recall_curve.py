"""Coverage against the number of windows, and the windows that do not look at the image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spp_det.evaluation.recall_curve import COUNTS, baselines, coverage, ranked, recall_curve
from spp_det.evaluation.window_baselines import MIN_SIDE, random_windows, sliding_windows
from spp_det.structures import Proposals, Target, check_boxes, empty_boxes

SIZES = st.tuples(st.integers(1, 900), st.integers(1, 900))


def test_worked_by_hand() -> None:
    """Of two objects the third window finds one with 0.8, the fifth the other with 0.6; a third is difficult."""
    target = Target([[0, 0, 10, 10], [20, 0, 30, 10], [70, 70, 80, 80]], [0, 1, 1], [False, False, True])
    windows = [[40, 0, 41, 1], [50, 0, 51, 1], [0, 0, 10, 8], [70, 70, 80, 80], [20, 0, 30, 6]]
    first = ranked({"1": Proposals(windows)})
    curve = recall_curve({"1": target}, first, counts=(1, 3, 4, 5, 6, 7))
    assert curve["windows"] == [1, 3, 4, 5]
    assert curve["recall_0.5"] == [0, 0.5, 0.5, 1]
    assert curve["recall_0.7"] == [0, 0.5, 0.5, 0.5]
    assert curve["abo"] == pytest.approx([0, 0.4, 0.4, 0.7])


def test_abo_is_over_objects_and_mabo_over_classes() -> None:
    target = Target([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [0, 0, 1], [False] * 3)
    windows = Proposals([[0, 0, 10, 10], [40, 0, 50, 5]])
    result = coverage({"1": target}, {"1": windows}, ("cat", "dog", "cow"))
    assert result["abo"] == pytest.approx(1.5 / 3)
    assert result["abo_by_class"] == {"cat": 0.5, "dog": 0.5}
    assert result["mabo"] == 0.5
    nothing = coverage({"1": Target(empty_boxes(), [], [])}, {"1": windows}, ("cat",))
    assert math.isnan(nothing["abo"])


@settings(deadline=None, max_examples=100)
@given(SIZES, st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_random_windows(size: tuple[int, int], count: int, seed: int) -> None:
    windows = random_windows(size, count, np.random.default_rng(seed))
    assert windows.dtype == np.float32
    assert_in_image(windows, size)
    assert len(windows) == (count if min(size) > MIN_SIDE else 1)
    np.testing.assert_array_equal(windows, random_windows(size, count, np.random.default_rng(seed)))


@settings(deadline=None, max_examples=100)
@given(SIZES, st.integers(1, 12_000))
def test_sliding_windows(size: tuple[int, int], count: int) -> None:
    windows = sliding_windows(size, count)
    assert windows.dtype == np.float32
    assert_in_image(windows, size)
    assert 1 <= len(windows) <= count
    assert len(np.unique(windows, axis=0)) == len(windows)


def assert_in_image(windows: np.ndarray, size: tuple[int, int]) -> None:
    height, width = size
    check_boxes(windows)
    assert (windows[:, 2:] <= [width + 1e-3, height + 1e-3]).all()
    assert ((windows[:, 2:] - windows[:, :2]) >= np.minimum(MIN_SIDE, [width, height]) - 1e-3).all()


def test_sliding_windows_use_what_they_are_given() -> None:
    """About as many windows as were asked for, and more where more were asked for."""
    lengths = [len(sliding_windows((375, 500), count)) for count in COUNTS]
    assert all(np.diff(lengths) > 0)
    assert all(length >= 0.75 * count for length, count in zip(lengths, COUNTS, strict=True))


def test_baselines_differ_between_images_and_not_between_calls() -> None:
    sizes = {"a": (375, 500), "b": (375, 500)}
    draw = baselines(sizes)["random windows"]
    assert not np.array_equal(draw("a", 9).boxes, draw("b", 9).boxes)
    np.testing.assert_array_equal(draw("b", 9).boxes, baselines(sizes)["random windows"]("b", 9).boxes)
    slide = baselines(sizes)["sliding windows"]
    np.testing.assert_array_equal(slide("a", 99).boxes, slide("b", 99).boxes)
