"""Fewer units of thin layers: which stay, by a slow search with least squares anew for each, and what they then say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spp_det.errors import ConfigError
from spp_det.networks import FcHead, Samples, compress_head, narrow_head
from spp_det.networks.narrowing import choose_units

LENGTH, HIDDEN, CLASSES = 30, (24, 18), 3


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((400, LENGTH)) * np.exp(-np.arange(LENGTH) / 6)).astype(np.float32)


@pytest.fixture(scope="module")
def thin(vectors):
    return compress_head(FcHead(LENGTH, HIDDEN, CLASSES, seed=1), (10, 6), samples=Samples(vectors))


def squared_error(columns, targets):
    """What least squares with a constant leaves of targets [N, T]."""
    columns = np.column_stack([columns, np.ones(len(targets))])
    return float(((columns @ np.linalg.lstsq(columns, targets, rcond=None)[0] - targets) ** 2).sum())


def chosen_slowly(outputs, targets, count):
    """Each time the unit whose least squares with those before leave the least."""
    chosen = []
    for _ in range(count):
        others = [unit for unit in range(outputs.shape[1]) if unit not in chosen]
        chosen.append(min(others, key=lambda unit: squared_error(outputs[:, [*chosen, unit]], targets)))
    return chosen


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_units_are_those_that_a_slow_search_finds(seed, count, num_targets):
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((60, 8)) + rng.standard_normal(8)
    targets = outputs @ rng.standard_normal((8, num_targets)) + 0.5 * rng.standard_normal((60, num_targets))
    found = choose_units(torch.from_numpy(outputs).float(), torch.from_numpy(targets).float(), count)
    assert found.tolist() == chosen_slowly(outputs, targets, count)


def test_units_that_are_dead_or_told_by_others_come_last():
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((50, 5)).astype(np.float32)
    outputs[:, 1] = 0
    outputs[:, 3] = 2 * outputs[:, 2]
    targets = torch.from_numpy(outputs @ np.float32([[1], [0], [3], [1], [2]]))
    found = choose_units(torch.from_numpy(outputs), targets, 5).tolist()
    assert set(found[:3]) in ({0, 2, 4}, {0, 3, 4})
    assert sorted(found) == [0, 1, 2, 3, 4]


def test_all_units_say_what_they_said(thin, vectors):
    scores = thin.numpy(vectors, "fc7") @ np.random.default_rng(1).standard_normal((HIDDEN[1], CLASSES))
    whole, units = narrow_head(thin, HIDDEN, vectors, scores)
    assert sorted(units) == list(range(HIDDEN[1]))
    before, after = (head.numpy(vectors, "fc7") for head in (thin, whole))
    np.testing.assert_allclose(after, before[:, units], atol=0.05 * before.std())
    np.testing.assert_allclose(whole.numpy(vectors, "code6"), thin.numpy(vectors, "code6"), atol=1e-6)
    assert whole.fc8.out_features == thin.fc8.out_features


def test_few_chosen_units_tell_the_scores_better_than_any_others(thin, vectors):
    scores = thin.numpy(vectors, "fc7") @ np.random.default_rng(1).standard_normal((HIDDEN[1], CLASSES))
    narrow, units = narrow_head(thin, (16, 6), vectors, scores)
    assert (narrow.fc6.out_features, narrow.fc7.out_features, narrow.fc8.in_features, len(units)) == (16, 6, 6, 6)
    ours = squared_error(narrow.numpy(vectors, "fc7"), scores)
    rng, thin7 = np.random.default_rng(2), thin.numpy(vectors, "fc7")
    others = [squared_error(thin7[:, rng.permutation(HIDDEN[1])[:6]], scores) for _ in range(20)]
    assert ours < min(others)


def test_widths_out_of_range_and_wide_layers_are_refused(thin, vectors):
    scores = np.zeros((len(vectors), CLASSES))
    for width, name in (((25, 6), "fc6"), ((0, 6), "fc6"), ((8, 19), "fc7")):
        with pytest.raises(ConfigError, match=f"the width of {name} lies in 1"):
            narrow_head(thin, width, vectors, scores)
    with pytest.raises(ValueError, match="thin"):
        narrow_head(FcHead(LENGTH, HIDDEN, CLASSES), (8, 6), vectors, scores)
