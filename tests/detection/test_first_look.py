"""The first look keeps the windows that it takes for the best."""

from __future__ import annotations

import numpy as np
import pytest

from spp_det.detection.first_look import CHANNELS, FirstLook, level_columns
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
    learnt.hidden_coef_ = np.eye(2, dtype=np.float32)
    learnt.hidden_intercept_ = np.array([10, 0], np.float32)  # keeps what a test says of the first above zero
    learnt.coef_ = np.array([[1, 0], [0, 2]], np.float32)
    learnt.intercept_ = np.array([-10, 1], np.float32)
    return learnt


def test_a_window_s_first_score_is_its_best():
    vectors = np.array([[3, 0], [0, 3], [1, -9], [-99, -99]], np.float32)
    assert look().scores(vectors).tolist() == [3, 7, 1, 1]


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


def blobs(count, seed):
    """Windows of two classes and of neither, as coarse vectors and as SVMs would score them; no line parts the first.

    As in a pyramid, many numbers of a vector tell of the same thing.
    """
    rng = np.random.default_rng(seed)
    hidden = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    ring = np.hypot(hidden[:, 0], hidden[:, 1])
    scores = np.stack([0.5 - 4 * ring, 4 * hidden[:, 2] - 3.5], axis=1)
    return 5 + hidden @ np.random.default_rng(9).standard_normal((3, 60)).astype(np.float32), scores


def share(first_scores, good):
    """Of the good windows, how many are among as many that the first look takes for the best."""
    return good[np.argsort(-first_scores)[: good.sum()]].mean()


@pytest.fixture(scope="module")
def learnt():
    return FirstLook().fit(*blobs(4000, seed=0))


@pytest.fixture(scope="module")
def trial():
    """Other windows, and which are the best tenth of each class and of both together."""
    vectors, scores = blobs(2000, seed=1)
    of_all = np.column_stack([scores, scores.max(axis=1)])
    return vectors, *(of_all >= np.sort(of_all, axis=0)[-200]).T


def test_it_learns_which_windows_are_good_where_no_line_parts_them(learnt, trial):
    vectors, first, _, either = trial
    assert share(learnt.scores(vectors), either) > 0.85
    alone = only_first(learnt)
    assert share(alone.scores(vectors), first) > 0.9
    seen, scores = blobs(4000, seed=0)
    line = np.linalg.lstsq(np.column_stack([seen, np.ones(len(seen))]), scores[:, 0], rcond=None)[0]
    assert share(vectors @ line[:-1], first) < 0.3


def test_it_is_the_same_from_its_arrays_and_when_learnt_again(learnt, trial):
    again, anew = FirstLook.from_state(learnt.state()), FirstLook().fit(*blobs(4000, seed=0))
    assert (again.levels, again.keep, again.min_windows) == (learnt.levels, learnt.keep, learnt.min_windows)
    assert (again.scores(trial[0]) == learnt.scores(trial[0])).all()
    np.testing.assert_allclose(anew.scores(trial[0]), learnt.scores(trial[0]), atol=0.05)  # the threads may round


def test_of_many_channels_it_sees_those_that_tell():
    """The blobs' numbers as those of a few channels, among noise."""
    telling, channels = np.array([3, 40, 77, 99]), 100
    (seen, scores), (other, other_scores) = blobs(4000, seed=0), blobs(2000, seed=1)
    of_channel = np.concatenate([np.arange(channels), np.repeat(np.arange(channels), 4)])
    among = np.flatnonzero(np.isin(of_channel, telling))

    def hidden_among(values, seed):
        noisy = np.random.default_rng(seed).normal(0, 0.3, (len(values), 5 * channels)).astype(np.float32)
        noisy[:, among] = values[:, : len(among)]
        return noisy

    look = FirstLook().fit(hidden_among(seen, 2).astype(np.float16), scores)
    assert len(look.channels_) == CHANNELS
    assert set(telling) <= set(look.channels_)
    assert (np.diff(look.channels_) > 0).all()
    good = other_scores.max(axis=1) >= np.sort(other_scores.max(axis=1))[-200]
    rows = hidden_among(other, 3)[:, np.isin(of_channel, look.channels_)]
    assert share(look.scores(rows), good) > 0.5  # of chance: 0.1
    again = FirstLook.from_state(look.state())
    assert (again.scores(rows) == look.scores(rows)).all()
    assert (again.channels_ == look.channels_).all()
    with pytest.raises(ValueError, match="do not have the levels"):
        FirstLook().fit(np.zeros((10, 12), np.float32), np.zeros((10, 2)))


def only_first(learnt):
    return FirstLook.from_state({**learnt.state(), "coef": learnt.coef_[:1], "intercept": learnt.intercept_[:1]})


def test_a_class_can_be_taken_away_and_added(learnt, trial):
    vectors, _, second, _ = trial
    fewer = only_first(learnt)
    assert share(fewer.scores(vectors), second) < 0.3
    seen, scores = blobs(4000, seed=0)
    row, intercept = fewer.fit_class(seen, scores[:, 1])
    fewer.coef_ = np.concatenate([fewer.coef_, row[None]])
    fewer.intercept_ = np.append(fewer.intercept_, np.float32(intercept))
    assert share(fewer.scores(vectors), second) > 0.85


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
