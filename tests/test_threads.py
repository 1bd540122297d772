"""Numpy's own threads stand back while a detector works, and come back."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from spp_det.threads import one_blas_thread


def counts():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_one_thread_within_the_block():
    np.ones((2, 2)) @ np.ones((2, 2))
    before = counts()
    with one_blas_thread():
        assert set(counts()) <= {1}
    assert counts() == before


def test_they_come_back_after_a_fault():
    before = counts()
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError
    assert counts() == before
