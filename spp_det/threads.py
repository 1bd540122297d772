"""Numpy's threads, kept out of the way of those that do the work, and rows handed out to torch's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier
from typing import TYPE_CHECKING

import numba
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


def numba_threads() -> int:
    """How many threads numba has. torch keeps its own number, which numba's first parallel loop would else change."""
    _begin_numba()
    return numba.get_num_threads()


@cache
def _begin_numba() -> None:
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    numba.get_num_threads()  # tells OpenMP, which is torch's too, how many there are
    if torch is not None:
        torch.set_num_threads(before)


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


_forks: list[int] = []  # processes that were forked on the way to this one


def is_forked() -> bool:
    """Whether this process was forked from another one that had loaded this."""
    return bool(_forks)


def _begin_fork() -> None:
    _one_each.cache_clear()  # it has none of the threads
    _forks.append(os.getpid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_fork)
