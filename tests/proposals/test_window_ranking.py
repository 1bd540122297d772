"""The order of windows, and near-duplicates beside a plain greedy suppression."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import selective_search as plain

from spp_det.proposals.grouping import Hierarchy
from spp_det.proposals.ranking import distinct, rank


def random_boxes(seed: int, n: int, extent: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, extent, (n, 2))
    return np.concatenate([corners, corners + generator.integers(1, extent + 1, (n, 2))], axis=1).astype(np.float32)


def test_the_top_of_a_hierarchy_ranks_first() -> None:
    boxes = np.array([[0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0]], np.int32)  # two pixels, then both
    hierarchy = Hierarchy(np.array([[0, 1]], np.int32), boxes)
    ranked, priorities = rank([hierarchy, hierarchy], np.random.default_rng(9))
    random = np.random.default_rng(9).random(6)
    np.testing.assert_array_equal(priorities, random * [1, 2, 3, 1, 2, 3])
    assert ranked[:3].tolist() == [[0, 0, 2, 1], [1, 0, 2, 1], [0, 0, 1, 1]]
    _, less_to_luck = rank([hierarchy, hierarchy], np.random.default_rng(9), chance=0.75)
    np.testing.assert_allclose(less_to_luck, (0.25 + 0.75 * random) * [1, 2, 3, 1, 2, 3])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 400),
    extent=st.sampled_from([3, 10, 60]),
    overlap=st.sampled_from([0.3, 0.71, 0.85, 1.0]),
)
def test_windows_are_kept_that_no_kept_one_covers(seed: int, n: int, extent: int, overlap: float) -> None:
    boxes = random_boxes(seed, n, extent)
    assert distinct(boxes, overlap).tolist() == plain.distinct(boxes.astype(int).tolist(), overlap)


def test_only_equal_windows_go_at_an_overlap_of_1() -> None:
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 99], [0, 0, 100, 100], [5, 0, 6, 1]], np.float32)
    assert distinct(boxes, 1.0).tolist() == [0, 1, 3]
    assert distinct(boxes, 0.85).tolist() == [0, 3]
