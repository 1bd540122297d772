"""Products of vectors: near to double precision, and the same bits whatever stands beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spp_det.products import multiply


@pytest.mark.parametrize("shape", [(0, 3, 5), (1, 1, 1), (4, 4, 16), (7, 9, 33), (201, 21, 4096), (5, 3, 0)])
def test_near_to_double_precision(shape):
    rows, columns, length = shape
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(count, length)).astype(np.float32) for count in (rows, columns))
    expected = a.astype(np.float64) @ b.T.astype(np.float64)
    for left in (a, torch.from_numpy(a)):
        found = multiply(left, b.T)
        assert (found.shape, found.dtype) == ((rows, columns), np.float32)
        np.testing.assert_allclose(found, expected, atol=1e-5 * max(length, 1) ** 0.5)


@pytest.mark.parametrize("length", [7, 320, 4096, 12800])
def test_each_number_is_the_same_alone(length):
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(count, length)).astype(np.float32) for count in (11, 7))
    together = multiply(a, b.T)
    for i in range(11):
        for j in range(7):
            assert multiply(a[i : i + 1], b[j : j + 1].T)[0, 0] == together[i, j], (i, j)
    np.testing.assert_array_equal(multiply(a[3:], b[2:].T), together[3:, 2:])


def test_what_is_no_number_stays():
    a, b = np.ones((2, 40), np.float32), np.ones((1, 40), np.float32)
    a[0, 5], a[1, 7] = np.nan, np.inf
    assert np.isnan(multiply(a, b.T)[0, 0])
    assert multiply(a, b.T)[1, 0] == np.inf
