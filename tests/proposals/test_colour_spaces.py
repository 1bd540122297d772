"""The colour spaces beside cv2 in floating point and the formulas."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spp_det.proposals.colour import SPACES, to_planes


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 48, 3)).astype(np.uint8)


def assert_close(planes: np.ndarray, expected: np.ndarray, tolerance: float = 1.0) -> None:
    assert planes.dtype == np.uint8
    assert planes.flags.c_contiguous
    np.testing.assert_allclose(planes.transpose(1, 2, 0).astype(float), expected, atol=tolerance)


def test_hsv_covers_the_full_circle_in_255_steps(image: np.ndarray) -> None:
    expected = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)  # 0 .. 360, 0 .. 1, 0 .. 1
    planes = to_planes(image, "hsv").transpose(1, 2, 0).astype(float)
    turn = np.abs(planes[..., 0] - expected[..., 0] * 256 / 360)
    assert np.minimum(turn, 256 - turn).max() <= 1
    np.testing.assert_allclose(planes[..., 1:], expected[..., 1:] * 255, atol=1)


def test_lab_is_shifted_and_scaled_to_bytes(image: np.ndarray) -> None:
    expected = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    assert_close(to_planes(image, "lab"), expected * [255 / 100, 1, 1] + [0, 128, 128], tolerance=2)


def test_intensity_is_the_weighted_mean(image: np.ndarray) -> None:
    assert_close(to_planes(image, "intensity"), image @ np.array([[0.299], [0.587], [0.114]]), tolerance=0.51)


def test_hue_is_that_of_hsv(image: np.ndarray) -> None:
    np.testing.assert_array_equal(to_planes(image, "h"), to_planes(image, "hsv")[:1])


def test_rgi_holds_shares_of_red_and_green_and_the_intensity(image: np.ndarray) -> None:
    image = image.copy()
    image[0, 0] = 0
    total = image.sum(2, dtype=float)
    with np.errstate(invalid="ignore"):
        expected = image[..., :2] / total[..., None] * 255
    expected[0, 0] = 85
    planes = to_planes(image, "rgi")
    assert_close(planes[:2], expected, tolerance=0.51)
    np.testing.assert_array_equal(planes[2:], to_planes(image, "intensity"))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_every_space_takes_the_smallest_images(space: str, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    assert to_planes(image, space).shape[1:] == size
