import numpy as np
import pytest

import spp_det.training.negatives as module
from spp_det.training.negatives import NegativeCache


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)


def vectors(image: int, count: int) -> np.ndarray:
    return np.array([[image, window, image * window] for window in range(count)], np.float32).reshape(count, 3)


def test_against_plain_lists() -> None:
    rng = np.random.default_rng(0)
    cache = NegativeCache(3, 4)
    plain: list[list[tuple[int, int]]] = [[] for _ in range(4)]
    for step in range(60):
        image = int(rng.integers(0, 12))
        count = 5 + image % 4
        chosen = rng.random((count, 4)) < 0.3
        added = cache.add(image, vectors(image, count), chosen)
        for label in range(4):
            new = [(image, w) for w in range(count) if chosen[w, label] and (image, w) not in plain[label]]
            assert added[label] == len(new)
            plain[label] += new
        label = int(rng.integers(0, 4))
        kept = rng.random(len(plain[label])) < 0.5
        cache.keep(label, kept)
        plain[label] = [key for key, keep in zip(plain[label], kept, strict=True) if keep]
        if step % 13 == 12:
            state, cache = cache.state(), NegativeCache(3, 4)
            cache.take_over(state, range(4))
        for label in range(4):
            expected = np.array([[i, w, i * w] for i, w in plain[label]], np.float32).reshape(-1, 3)
            np.testing.assert_array_equal(cache.features(label), expected)
        held = cache.holds(image, count)
        assert held.tolist() == [[(image, w) in keys for keys in plain] for w in range(count)]
    windows = {key for keys in plain for key in keys}
    assert len(cache.state()["features"]) == len(windows)  # a window's features are there once


def test_rows_are_used_again() -> None:
    cache = NegativeCache(3, 1)
    for image in range(50):
        cache.add(image, vectors(image, 5), np.ones((5, 1), bool))
        cache.keep(0, np.zeros(5, bool))
    assert len(cache.keys) == 7


def test_an_empty_cache_goes_through_its_state() -> None:
    again = NegativeCache(3, 2)
    again.take_over(NegativeCache(3, 2).state(), [0, 1])
    assert again.features(1).shape == (0, 3)
    assert len(again.rows_of) == 2
