"""Work on many items at once, results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def machine_cores() -> int:
    """The cores that this process may use, be it alone or with others that torchrun started beside it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_cores() -> int:
    """The cores that this process may use for itself: its share of them, one at least, where torchrun started more."""
    return max(1, machine_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def map_ordered(work: Callable[[T], R], items: Iterable[T], workers: int, ahead: int = 2) -> Iterator[R]:
    """work(item) for each item, by threads, in the order of the items; at most `workers + ahead` results wait.

    For work that leaves Python's lock: compiled kernels, image decoding, files. The first exception stops the rest.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= workers + ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
