"""Numpy's threads, kept out of the way of those that do the work, and products by torch's in their place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Numpy and scipy multiply by one thread within the block.

    Their BLAS has threads of its own beside torch's and numba's, which wait in a busy loop for some milliseconds after
    each product: for a product of one millisecond they then take a core from whatever comes next.
    """
    with _blas().limit(limits=1):
        yield


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of the process, without that of torch, which has no threads of its own."""
    return ThreadpoolController().select(user_api="blas")


def multiply(a: npt.NDArray[np.float32] | Tensor, b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The product of two float32 matrices, [N, D] and [D, K], by torch's threads where `detect` has them anyway.

    A tensor is multiplied in its own type, where it lies.
    """
    torch = sys.modules.get("torch")
    if torch is None:  # an exported detector
        return a @ b
    with torch.inference_mode():
        left = a if isinstance(a, torch.Tensor) else torch.from_numpy(a)
        return (left @ torch.from_numpy(b).to(left.device, left.dtype)).float().cpu().numpy()
