import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from spp_det.pooling.vectors import LINE, finish_streams, max_of_four, raise_to, reorder, stream


@njit
def streamed(target, at, source, count):  # type: ignore[no-untyped-def]
    stream(target, at, source, count)
    finish_streams()


@settings(deadline=None, max_examples=200)
@given(offset=st.integers(0, 40), count=st.integers(0, 100), dtype=st.sampled_from([np.float32, np.int16]))
def test_stream_writes_these_and_no_others(offset: int, count: int, dtype: type) -> None:
    target, source = np.full(160, -1, dtype), np.arange(count, dtype=dtype)
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
    dtype=st.sampled_from([np.float32, np.int16]),
)
def test_maxima(places: list[int], at: int, times: int, seed: int, dtype: type) -> None:
    count = times * LINE // np.dtype(dtype).itemsize
    rng = np.random.default_rng(seed)
    source, target = (1000 * rng.normal(size=(2, 64 + count))).astype(dtype)
    before = target.copy()
    greatest = np.max([source[place : place + count] for place in places], axis=0)
    max_of_four(target, at, source, *places, count)
    np.testing.assert_array_equal(target[at : at + count], greatest)
    raise_to(target, at, before, places[0], count)
    np.testing.assert_array_equal(target[at : at + count], np.maximum(greatest, before[places[0] :][:count]))
    untouched = np.ones(len(target), bool)
    untouched[at : at + count] = False
    np.testing.assert_array_equal(target[untouched], before[untouched])


def test_reordered_bits_are_in_the_order_of_the_numbers() -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    numbers = every[~every.view(torch.bfloat16).isnan()]
    numbers = numbers[: len(numbers) // 32 * 32]
    bits = numbers.numpy().copy()
    reorder(bits, 0, len(bits))
    ordered = numbers.view(torch.bfloat16).float().numpy()[np.argsort(bits, kind="stable")]
    assert (np.diff(ordered[np.isfinite(ordered)]) >= 0).all()
    reorder(bits, 0, len(bits))
    np.testing.assert_array_equal(bits, numbers.numpy())


@pytest.mark.parametrize("start", [0, 32])
def test_reordering_leaves_the_rest(start: int) -> None:
    bits = np.full(96, -3, np.int16)
    reorder(bits, start, 32)
    assert (np.delete(bits, np.arange(start, start + 32)) == -3).all()
    assert (bits[start : start + 32] != -3).all()
