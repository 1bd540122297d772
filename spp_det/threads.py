"""Numpy's threads, kept out of the way of those that do the work, and products by torch's in their place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 128  # of a product that one thread takes: enough for each number of the other matrix to be used while it is near


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Numpy and scipy multiply by so many threads within the block."""
    with _blas().limit(limits=count):
        yield


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Numpy and scipy multiply by one thread within the block.

    Their BLAS has threads of its own beside torch's and numba's, which wait in a busy loop for some milliseconds after
    each product: for a product of one millisecond they then take a core from whatever comes next.
    """
    with blas_threads(1):
        yield


@cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of the process, without that of torch, which has no threads of its own."""
    return ThreadpoolController().select(user_api="blas")


def multiply(a: npt.NDArray[np.float32] | Tensor, b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The product of two float32 matrices, [N, D] and [D, K], by torch's threads where `detect` has them anyway.

    A tensor is multiplied in its own type, where it lies. On a CPU the number of threads changes no bit: bfloat16 goes
    to oneDNN in one piece, which cuts no sum; handing out rows would take it several times as long.
    """
    torch = sys.modules.get("torch")
    if torch is None:  # an exported detector
        return a @ b
    left = a if isinstance(a, torch.Tensor) else torch.from_numpy(a)
    right = torch.from_numpy(b).to(left.device, left.dtype)
    if left.device.type != "cpu" or left.dtype == torch.bfloat16:
        with torch.inference_mode():
            return (left @ right).float().cpu().numpy()
    return by_rows(lambda rows: left[rows] @ right, len(left), b.shape[1])


def by_rows(work: Callable[[slice], Tensor], count: int, width: int) -> npt.NDArray[np.float32]:
    """The rows that `work` gives, float32 [count, width], a block of ROWS of them by one thread, blocks side by side.

    Within a product, torch's libraries cut sums by the number of threads, and so round them: here the rows are cut, at
    the same places for any number.
    """
    import torch

    out = np.empty((count, width), np.float32)

    def fill(rows: slice) -> None:
        with torch.inference_mode():
            torch.from_numpy(out[rows]).copy_(work(rows))

    blocks = [slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS)]
    for _ in _one_each(torch.get_num_threads()).map(fill, blocks):
        pass
    return out


def in_slices(work: Callable[[slice], object], count: int) -> None:
    """Do `work`, which leaves Python's lock, on slices of 0 .. count - 1 side by side, as many as torch has threads."""
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        work(slice(0, count))
        return
    bounds = [count * number // threads for number in range(threads + 1)]
    for _ in _one_each(threads).map(work, map(slice, bounds, bounds[1:])):
        pass


@cache
def _one_each(count: int) -> ThreadPoolExecutor:
    """So many threads, in each of which torch has no others."""
    import torch

    before, started = torch.get_num_threads(), Barrier(count)

    def begin() -> None:
        torch.set_num_threads(1)  # for this thread, and those to come until it is set again
        torch.get_num_threads()  # what is set holds from the first look on
        started.wait()

    pool = ThreadPoolExecutor(count, "rows")
    for begun in [pool.submit(begin) for _ in range(count)]:
        begun.result()
    torch.set_num_threads(before)
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_each.cache_clear)  # a forked process has none of the threads
