"""Felzenszwalb and Huttenlocher's segmentation beside a plain version of the published algorithm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import selective_search as plain

from spp_det.images import read_image, resize
from spp_det.proposals.colour import to_planes
from spp_det.proposals.segmentation import OUTSIDE, RADIUS, SCALE, SIGMA, segment, smooth, sort_edges


def random_planes(seed: int, size: tuple[int, int], channels: int = 3, levels: int = 256) -> np.ndarray:
    """Blocks of colour with noise: some structure, many ties where there are few levels."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, levels, (channels, (size[0] + 4) // 5, (size[1] + 4) // 5))
    planes = np.kron(blocks, np.ones((1, 5, 5), int))[:, : size[0], : size[1]]
    noise = generator.integers(0, max(1, levels // 20) + 1, planes.shape)
    return np.clip((planes + noise) * 255 // (levels + levels // 20 + 1), 0, 255).astype(np.uint8)


def assert_as_published(planes: np.ndarray, k: float, min_size: int) -> None:
    smoothed = smooth(planes)
    labels = segment(sort_edges(smoothed), k, min_size).labels
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, plain.segment(smoothed, k, min_size, SCALE))


def test_smoothing_is_a_gaussian_with_a_repeated_border() -> None:
    planes = random_planes(0, (20, 30))
    expected = [plain.gaussian_blur(plane, SIGMA, RADIUS) for plane in planes]
    np.testing.assert_allclose(smooth(planes), expected, atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    channels=st.sampled_from([1, 3]),
    levels=st.sampled_from([2, 16, 256]),
    k=st.sampled_from([1, 10, 50, 100, 300]),
    min_size=st.sampled_from([1, 5, 50]),
)
def test_partition_is_that_of_the_published_algorithm(
    seed: int, height: int, width: int, channels: int, levels: int, k: int, min_size: int
) -> None:
    assert_as_published(random_planes(seed, (height, width), channels, levels), k, min_size)


@pytest.mark.parametrize("space", ["hsv", "lab"])
def test_partition_of_a_photograph_is_that_of_the_published_algorithm(voc_root: Path, space: str) -> None:
    photograph = read_image(sorted((voc_root / "VOC2007" / "JPEGImages").glob("*.jpg"))[0])
    planes = to_planes(resize(photograph, (70, 90)), space)
    assert_as_published(planes, 50, 50)
    assert_as_published(planes, 100, 20)


def test_edges_come_in_rising_weight_each_once() -> None:
    smoothed = smooth(random_planes(3, (13, 17)))
    grid = sort_edges(smoothed)
    assert len(grid.edges) == len(set(grid.edges.tolist())) == 13 * 16 + 12 * 17 + 2 * 12 * 16
    weights = np.repeat(np.arange(OUTSIDE), np.diff(grid.starts))
    pixels, directions = grid.edges // 4, grid.edges % 4
    y, x = pixels // 17, pixels % 17
    steps = np.array(plain.DIRECTIONS)[directions]
    difference = smoothed[:, y, x] - smoothed[:, y + steps[:, 0], x + steps[:, 1]]
    np.testing.assert_allclose(weights / SCALE, np.sqrt((difference**2).sum(0)), atol=0.51 / SCALE)


def test_the_largest_difference_of_colour_has_a_weight() -> None:
    smoothed = np.zeros((3, 1, 2), np.float32)
    smoothed[:, 0, 1] = 255
    assert len(sort_edges(smoothed).edges) == 1


def test_every_region_has_the_least_size_where_the_image_has() -> None:
    planes = np.random.default_rng(1).integers(0, 256, (3, 60, 60)).astype(np.uint8)
    assert np.bincount(segment(sort_edges(smooth(planes)), 1, 40).labels.ravel()).min() >= 40
    assert segment(sort_edges(smooth(planes[:, :3, :3])), 1, 40).labels.max() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_one_colour_is_one_region(size: tuple[int, int]) -> None:
    assert (segment(sort_edges(np.full((3, *size), 7, np.float32)), 50, 50).labels == 0).all()
