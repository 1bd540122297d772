"""The first look keeps the windows that it takes for the best."""

from __future__ import annotations

import numpy as np
import pytest

from spp_det.detection.first_look import FirstLook, level_columns
from spp_det.errors import ConfigError
from spp_det.pooling import pool_windows

BOXES = np.tile(np.array([[0, 0, 8, 8]], np.float32), (10, 1))


class Regions:
    """Pooling that gives what a test wants."""

    def __init__(self, vectors):
        self.vectors, self.levels = vectors, None

    def pool(self, features, boxes, levels):
        assert len(boxes) == len(self.vectors)
        self.levels = levels
        return self.vectors


def look(**options):
    learnt = FirstLook(**{"min_windows": 1, **options})
    learnt.coef_ = np.eye(2, dtype=np.float32)
    learnt.intercept_ = np.array([0, 1], np.float32)
    return learnt


def test_a_window_s_first_score_is_its_best():
    assert look().scores(np.array([[3, 0], [0, 3], [1, 0]], np.float32)).tolist() == [3, 4, 1]


@pytest.mark.parametrize(
    ("keep", "min_windows", "count"), [(0.3, 1, 3), (0.31, 1, 4), (0.3, 6, 6), (0.3, 50, 10), (1, 1, 10)]
)
def test_the_best_share_stays_and_never_too_few(keep, min_windows, count):
    order = np.random.default_rng(0).permutation(10)
    regions = Regions(np.stack([order, np.full(10, -5)], axis=1).astype(np.float32))
    stays = look(keep=keep, min_windows=min_windows).keeps(regions, None, BOXES)
    assert stays.sum() == count
    assert set(order[stays]) == set(range(10 - count, 10))
    assert regions.levels == ((1, 2) if count < 10 else None)


def test_of_equals_the_first_stay():
    stays = look(keep=0.4).keeps(Regions(np.zeros((10, 2), np.float32)), None, BOXES)
    assert np.flatnonzero(stays).tolist() == [0, 1, 2, 3]


def test_it_learns_a_linear_function():
    rng = np.random.default_rng(0)
    vectors, coef = rng.standard_normal((200, 6)).astype(np.float32), rng.standard_normal((3, 6))
    learnt = FirstLook(regularisation=1e-6).fit(vectors, vectors @ coef.T + [1, -2, 0.5])
    np.testing.assert_allclose(learnt.coef_, coef, atol=1e-3)
    np.testing.assert_allclose(learnt.intercept_, [1, -2, 0.5], atol=1e-3)
    again = FirstLook.from_state(learnt.state())
    assert (again.levels, again.keep, again.min_windows) == (learnt.levels, learnt.keep, learnt.min_windows)
    assert (again.scores(vectors) == learnt.scores(vectors)).all()


@pytest.mark.parametrize("chosen", [(1,), (1, 2), (3,), (2, 6), (1, 2, 3, 6)])
def test_columns_are_the_coarser_pooling_s(chosen):
    feature_map = np.random.default_rng(0).standard_normal((4, 13, 11)).astype(np.float32)
    windows = np.array([[0, 0, 10, 12], [2, 3, 8, 4], [5, 5, 5, 5]])
    whole = pool_windows(feature_map, windows, (1, 2, 3, 6))
    coarse = pool_windows(feature_map, windows, chosen)
    assert (whole[:, level_columns(4, (1, 2, 3, 6), chosen)] == coarse).all()


def test_what_does_not_fit_is_told():
    with pytest.raises(ConfigError, match=r"the levels \[1, 4\] needs them among the pyramid's \[1, 2\]"):
        level_columns(4, (1, 2), (1, 4))
    for keep in (0, 1.1):
        with pytest.raises(ConfigError, match="share"):
            FirstLook(keep=keep)
