"""Numpy's own threads stand back while a detector works, and come back; and no number of threads changes a result."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from spp_det.networks import FcHead
from spp_det.products import multiply
from spp_det.threads import blas_threads, one_blas_thread
from spp_det.training.ridge import solve_ridge


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_bit_depends_on_the_number_of_threads(dtype: torch.dtype) -> None:
    """Of torch's own products it does: of 300 x 6,400 by 512 for instance, on a processor with AVX-512."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 640)).astype(np.float32)
    head = FcHead(640, hidden=(96, 64), num_classes=5).eval().to(dtype)
    head.repeatable = True
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append([values.tobytes() for values in head.numpy_layers(vectors, ("fc6", "logits", "pool5"))])
        found[-1].append(multiply(vectors, vectors[:7].T).tobytes())
        found[-1].append(multiply(torch.from_numpy(vectors).to(dtype), vectors[:7].T).tobytes())
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert found == [found[0]] * 3
    logits = np.frombuffer(found[0][1], np.float32).reshape(300, 6)
    with torch.inference_mode():
        whole = head.layer(torch.from_numpy(vectors).to(dtype), "logits").float().numpy()
    np.testing.assert_allclose(logits, whole, atol=1e-5 if dtype == torch.float32 else 0.05)


def test_a_ridge_is_the_same_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(700, 400)).astype(np.float32)
    targets = rng.normal(size=(700, 4))
    for rows in (700, 300):  # more than numbers, and fewer
        found = []
        for threads in (1, 2):
            with blas_threads(threads):
                found.append(solve_ridge([features[:rows]], targets[:rows], 400, 10.0))
        assert found[0].tobytes() == found[1].tobytes()
