"""Histograms of regions beside numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from reference import selective_search as plain

from spp_det.proposals.adjacency import measure
from spp_det.proposals.histograms import DERIVATIVE_SIGMA, ONE, STEP, histogram_bins, region_histograms


@pytest.fixture(scope="module", params=[1, 3])
def planes(request: pytest.FixtureRequest) -> np.ndarray:
    generator = np.random.default_rng(5)
    smooth = np.kron(generator.integers(0, 200, (request.param, 8, 10)), np.ones((1, 6, 6), int))
    return (smooth + generator.integers(0, 56, smooth.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    blocks = np.kron(np.arange(12).reshape(3, 4), np.ones((16, 15), int))
    blocks[:2, :2] = 12
    return blocks.astype(np.int32)


def test_texture_bins_are_those_of_the_directional_derivatives(planes: np.ndarray) -> None:
    bins = histogram_bins(planes).reshape(48, len(planes), 5, 60)[:, :, 1:].transpose(1, 2, 0, 3)
    for plane, found in zip(planes, bins, strict=True):
        dx, dy = plain.derivatives(plane, DERIVATIVE_SIGMA, 4)
        for axis in range(4):
            angle = axis * np.pi / 4
            slope = np.cos(angle) * dx + np.sin(angle) * dy
            steps = np.abs(slope) / STEP
            clear = np.abs(steps - np.rint(steps)) > 1e-4  # rounding may move the others by one bin
            expected = np.minimum(steps, 9).astype(int) + np.where(slope < 0, 40, 0)
            assert clear.mean() > 0.95
            np.testing.assert_array_equal(found[axis][clear], expected[clear])


def test_texture_tells_a_slope_from_its_opposite() -> None:
    ramp = np.tile(np.arange(0, 225, 9, dtype=np.uint8), (20, 1))  # 9 grey levels a pixel, 6.4 along the diagonals
    bins = histogram_bins(np.stack([ramp, ramp[:, ::-1]]))[10, :, 12].reshape(2, 5)[:, 1:].tolist()
    assert [bins[0][0], bins[0][1], bins[0][3]] == [9 // STEP, 6.4 // STEP, 40 + 6.4 // STEP]
    assert [bins[1][0], bins[1][1], bins[1][3]] == [40 + 9 // STEP, 40 + 6.4 // STEP, 6.4 // STEP]
    assert bins[0][2] % 10 == bins[1][2] % 10 == 0  # across the slope


def test_histograms_are_those_of_numpy(planes: np.ndarray, labels: np.ndarray) -> None:
    sizes, _ = measure(labels)
    histograms = region_histograms(histogram_bins(planes), labels, sizes)
    assert histograms.dtype == np.float32
    assert histograms.shape == (13, len(planes) * 105)
    slopes = [plain.derivatives(plane, DERIVATIVE_SIGMA, 4) for plane in planes]
    for region, histogram in enumerate(histograms):
        inside = labels == region
        expected = plain.histogram(planes[:, inside], [(dx[inside], dy[inside]) for dx, dy in slopes], STEP)
        colour = 25 * len(planes)
        np.testing.assert_allclose(histogram[:colour] / ONE, expected[:colour], rtol=1e-6)
        assert np.abs(histogram[colour:] / ONE - expected[colour:]).sum() < 0.002  # a value on the edge of a bin
    np.testing.assert_allclose(histograms.sum(1, dtype=float), 2 * ONE, rtol=1e-5)


def test_the_last_colour_bin_takes_255() -> None:
    planes = np.full((1, 4, 4), 255, np.uint8)
    histogram = region_histograms(histogram_bins(planes), np.zeros((4, 4), np.int32), np.array([16], np.int32))
    assert histogram[0, 24] == ONE
    assert histogram[0, :24].max() == 0
