"""Coarser segmentations that continue from finer ones, beside the plain rule on sets of regions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import selective_search as plain

from spp_det.images import read_image, resize
from spp_det.proposals.adjacency import adjacency, measure
from spp_det.proposals.coarsening import borders, coarsen, join_regions
from spp_det.proposals.colour import to_planes
from spp_det.proposals.grouping import Regions
from spp_det.proposals.histograms import histogram_bins, region_histograms
from spp_det.proposals.segmentation import SCALE, segment, smooth, sort_edges


def regions_of(planes: np.ndarray, labels: np.ndarray) -> Regions:
    sizes, boxes = measure(labels)
    histograms = region_histograms(histogram_bins(planes), labels, sizes)
    return Regions(labels.size, sizes, boxes, histograms, *adjacency(labels, len(sizes)))


def neighbour_sets(regions: Regions) -> list[set[int]]:
    ends = regions.starts.tolist()
    found = [regions.neighbours[a:b].tolist() for a, b in pairwise(ends)]
    assert all(len(set(each)) == len(each) for each in found)
    return [set(each) for each in found]


def assert_chain(planes: np.ndarray, chain: list[tuple[int, int]]) -> None:
    smoothed = smooth(planes)
    segmentation = segment(sort_edges(smoothed), *chain[0])
    labels = segmentation.labels
    np.testing.assert_array_equal(labels, plain.segment_chain(smoothed, chain, SCALE)[0])
    regions = regions_of(planes, labels)
    edges = borders(segmentation)
    for (k, min_size), expected in zip(chain[1:], plain.segment_chain(smoothed, chain, SCALE)[1:], strict=True):
        number, edges = coarsen(edges, regions.sizes, k, min_size)
        regions = join_regions(regions, number)
        labels = number[labels]
        np.testing.assert_array_equal(labels, expected)
        direct = regions_of(planes, labels)
        np.testing.assert_array_equal(regions.sizes, direct.sizes)
        np.testing.assert_array_equal(regions.boxes, direct.boxes)
        np.testing.assert_allclose(regions.histograms, direct.histograms, rtol=1e-4, atol=1)
        assert neighbour_sets(regions) == neighbour_sets(direct)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    channels=st.sampled_from([1, 3]),
    levels=st.sampled_from([2, 16, 256]),
    chain=st.sampled_from([[(10, 1), (50, 1)], [(50, 5), (100, 5), (300, 30)], [(1, 4), (2, 50)]]),
)
def test_regions_go_on_to_join_under_a_larger_k(
    seed: int, height: int, width: int, channels: int, levels: int, chain: list[tuple[int, int]]
) -> None:
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, levels, (channels, height // 4 + 1, width // 4 + 1)) * 200 // (levels - 1)
    planes = np.kron(blocks, np.ones((1, 4, 4), int))[:, :height, :width]
    assert_chain((planes + generator.integers(0, 30, planes.shape)).astype(np.uint8), chain)


@pytest.mark.parametrize("space", ["hsv", "intensity"])
def test_a_photograph_is_coarsened_by_the_rule(voc_root: Path, space: str) -> None:
    photograph = read_image(sorted((voc_root / "VOC2007" / "JPEGImages").glob("*.jpg"))[0])
    assert_chain(to_planes(resize(photograph, (70, 90)), space), [(50, 10), (150, 20), (400, 50)])
