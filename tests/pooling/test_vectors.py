import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from spp_det.pooling.vectors import WIDTH, finish_streams, max_of_four, raise_to, stream


@njit
def streamed(target, at, source, count):  # type: ignore[no-untyped-def]
    stream(target, at, source, count)
    finish_streams()


@settings(deadline=None, max_examples=200)
@given(offset=st.integers(0, 40), count=st.integers(0, 100))
def test_stream_writes_these_and_no_others(offset: int, count: int) -> None:
    target, source = np.full(160, -1, np.float32), np.arange(count, dtype=np.float32)
    streamed(target, offset, source, count)
    np.testing.assert_array_equal(target[offset : offset + count], source)
    assert (target[:offset] == -1).all()
    assert (target[offset + count :] == -1).all()


@settings(deadline=None, max_examples=100)
@given(
    places=st.lists(st.integers(0, 64), min_size=4, max_size=4),
    at=st.integers(0, 64),
    times=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_maxima(places: list[int], at: int, times: int, seed: int) -> None:
    count = times * WIDTH
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 64 + count)).astype(np.float32)
    before = target.copy()
    greatest = np.max([source[place : place + count] for place in places], axis=0)
    max_of_four(target, at, source, *places, count)
    np.testing.assert_array_equal(target[at : at + count], greatest)
    raise_to(target, at, before, places[0], count)
    np.testing.assert_array_equal(target[at : at + count], np.maximum(greatest, before[places[0] :][:count]))
    untouched = np.ones(len(target), bool)
    untouched[at : at + count] = False
    np.testing.assert_array_equal(target[untouched], before[untouched])
