"""Grouping beside a plain version that looks through all pairs at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import selective_search as plain

from spp_det.images import read_image, resize
from spp_det.proposals.adjacency import adjacency, measure
from spp_det.proposals.colour import to_planes
from spp_det.proposals.grouping import Regions, Similarity, group
from spp_det.proposals.histograms import ONE, histogram_bins, region_histograms
from spp_det.proposals.segmentation import segment, smooth, sort_edges

FLAGS = st.booleans()


def regions_of(planes: np.ndarray, k: float, min_size: int) -> tuple[np.ndarray, Regions]:
    labels = segment(sort_edges(smooth(planes)), k, min_size).labels
    sizes, boxes = measure(labels)
    histograms = region_histograms(histogram_bins(planes), labels, sizes)
    return labels, Regions(labels.size, sizes, boxes, histograms, *adjacency(labels, len(sizes)))


def assert_same_hierarchy(labels: np.ndarray, regions: Regions, similarity: Similarity) -> None:
    channels = regions.histograms.shape[1] // 105
    parts = [regions.histograms[:, : 25 * channels]] * similarity.colour
    parts += [regions.histograms[:, 25 * channels :]] * similarity.texture
    chosen = np.concatenate([regions.histograms[:, :0], *parts], axis=1)
    merges, boxes = plain.group(labels, chosen, similarity.size, similarity.fill, ONE)
    hierarchy = group(regions, similarity)
    np.testing.assert_array_equal(hierarchy.merges, np.array(merges).reshape(-1, 2))
    np.testing.assert_array_equal(hierarchy.boxes, boxes)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    levels=st.sampled_from([2, 8, 256]),
    similarity=st.builds(Similarity, colour=FLAGS, texture=FLAGS, size=FLAGS, fill=FLAGS),
)
def test_merges_are_those_of_the_plain_version(
    seed: int, height: int, width: int, channels: int, levels: int, similarity: Similarity
) -> None:
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, levels, (channels, height // 4 + 1, width // 4 + 1)) * 255 // (levels - 1)
    planes = np.kron(blocks, np.ones((1, 4, 4), int))[:, :height, :width].astype(np.uint8)
    assert_same_hierarchy(*regions_of(planes, 10, 4), similarity)


@pytest.mark.parametrize("colour", [True, False])
def test_merges_of_a_photograph_are_those_of_the_plain_version(voc_root: Path, colour: bool) -> None:
    photograph = read_image(sorted((voc_root / "VOC2007" / "JPEGImages").glob("*.jpg"))[1])
    planes = to_planes(resize(photograph, (120, 160)), "lab")
    labels, regions = regions_of(planes, 50, 20)
    assert len(regions.sizes) > 50
    assert_same_hierarchy(labels, regions, Similarity(colour, True, True, True))


def test_neighbours_are_those_that_touch_by_side_or_corner() -> None:
    labels = np.array([[0, 0, 1], [2, 0, 1], [2, 3, 3]], np.int32)
    starts, found = adjacency(labels, 4)
    assert [found[starts[i] : starts[i + 1]].tolist() for i in range(4)] == plain.neighbours(labels)
    assert {tuple(sorted((i, int(j)))) for i in range(4) for j in found[starts[i] : starts[i + 1]]} == {
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 3),
        (2, 3),
    }


def test_sizes_and_boxes_are_those_of_the_pixels() -> None:
    labels = np.array([[0, 0, 1], [2, 0, 1], [2, 2, 2]], np.int32)
    sizes, boxes = measure(labels)
    assert sizes.tolist() == [3, 2, 4]
    assert boxes.tolist() == [[0, 0, 1, 1], [2, 0, 2, 1], [0, 1, 2, 2]]


def test_the_last_region_is_the_whole_image() -> None:
    planes = np.random.default_rng(0).integers(0, 256, (3, 50, 70)).astype(np.uint8)
    _, regions = regions_of(planes, 5, 5)
    hierarchy = group(regions, Similarity(True, True, True, True))
    n = len(regions.sizes)
    assert n > 10
    assert hierarchy.boxes[-1].tolist() == [0, 0, 69, 49]
    assert sorted(hierarchy.merges.ravel().tolist()) == list(range(2 * n - 2))  # each joins once


def test_small_regions_join_first_by_size_and_nested_ones_by_fill() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[:, 10:] = 1
    labels[8:12, 3:7] = 2  # an island in the left half
    sizes, boxes = measure(labels)
    regions = Regions(400, sizes, boxes, np.full((3, 105), 1, np.float32), *adjacency(labels, 3))
    fill = group(regions, Similarity(False, False, False, True))
    assert sorted(fill.merges[0].tolist()) == [0, 2]
    size = group(regions, Similarity(False, False, True, False))
    assert sorted(size.merges[0].tolist()) == [0, 2]
