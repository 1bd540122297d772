"""Many images in a row: other processes read the next ones and make their windows while this one detects.

For images that stand in line for one detector; `parallel.map_ordered` is for work that threads can share, such as
reading a split.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from os import PathLike
from pathlib import Path
from typing import TypeVar

from spp_det.detection.window_detector import WindowDetector
from spp_det.errors import SppDetError
from spp_det.images import read_image
from spp_det.parallel import available_cores
from spp_det.proposals import ProposalMethod
from spp_det.structures import Boxes, Detections, Image, Proposals, check_image

Source = str | PathLike[str] | Image
AHEAD = 2  # images that wait for each process
K = TypeVar("K")


def detect_many(
    detector: WindowDetector,
    images: Iterable[Source],
    min_score: float | None = None,
    workers: int | None = None,
    on_fault: Callable[[str, SppDetError], None] | None = None,
) -> Iterator[tuple[str, Detections]]:
    """(name, detections) of each image, in their order, as `detect` gives them.

    images: files, or uint8 [H, W, 3] in RGB, possibly without end, such as a video's frames; at most three for each
    process are held at a time. A file's name is its path, an array's "image 0" and so on. min_score: see `detect`.
    workers: processes that read and make windows, each by one thread; by default one for each core but one, 0 for
    none. They start as Python's "spawn" does: a script needs its `if __name__ == "__main__"`.
    on_fault: called with the name and the error of an image that cannot be read, and the next one follows; without it
    the error is raised. Raises WorkerError, naming an image, where a process dies.
    """
    count = max(1, available_cores() - 1) if workers is None else workers
    if count < 0:
        raise ValueError(f"there are 0 processes or more, not {count}")
    named = ((_name(source, number), source) for number, source in enumerate(images))
    for name, look in windows_ahead(detector.proposals, named, count):
        try:
            image, boxes = look()
        except SppDetError as fault:
            if on_fault is None or isinstance(fault, WorkerError):
                raise
            on_fault(name, fault)
            continue
        yield name, detector.detect(image, Proposals(boxes), min_score)


class WorkerError(SppDetError):
    """A process that makes windows has died."""


Look = tuple[Image, Boxes]  # what a process finds: the pixels, and the windows


def windows_ahead(
    proposals: ProposalMethod, images: Iterable[tuple[K, Source | SppDetError]], workers: int
) -> Iterator[tuple[K, Callable[[], Look]]]:
    """Each image's key, and a function that waits for its pixels and windows; the next images are under way meanwhile.

    images: with a key each, whose text is the image's name in an error; in place of an image the fault that there is
    none, which the function then raises in its turn. workers: processes, 0 for none. See `detect_many`.
    """
    if workers == 0:
        for key, source in images:
            yield key, lambda source=source: _look(proposals, source)  # type: ignore[misc]
        return
    one_thread = copy.copy(proposals)
    if hasattr(one_thread, "threads"):
        one_thread.threads = 1
    rest = iter(images)
    waiting: deque[tuple[K, Future[Look]]] = deque()
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (one_thread,)) as pool:
        try:
            while True:
                for key, source in islice(rest, (AHEAD + 1) * workers - len(waiting)):
                    waiting.append((key, _submit(pool, source)))
                if not waiting:
                    return
                key, future = waiting.popleft()
                yield key, lambda key=key, future=future: _wait(str(key), future)  # type: ignore[misc]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, source: Source | SppDetError) -> Future[Look]:
    try:
        return pool.submit(_look_in_process, source)
    except BrokenProcessPool as fault:  # told when it is this image's turn: others before it may be done
        broken: Future[Look] = Future()
        broken.set_exception(fault)
        return broken


def _wait(name: str, future: Future[Look]) -> Look:
    try:
        return future.result()
    except BrokenProcessPool:
        raise WorkerError(f"{name}: the process that made its windows has died (killed, or out of memory?)") from None


_of_process: list[ProposalMethod] = []


def _begin(proposals: ProposalMethod) -> None:
    _of_process.append(proposals)


def _look_in_process(source: Source | SppDetError) -> Look:
    return _look(_of_process[0], source)


def _look(proposals: ProposalMethod, source: Source | SppDetError) -> Look:
    if isinstance(source, SppDetError):
        raise source
    if isinstance(source, (str, PathLike)):
        image, image_id = read_image(source), Path(source).stem
    else:
        image, image_id = check_image(source), ""
    return image, proposals.propose(image, image_id).boxes


def _name(source: Source, number: int) -> str:
    return str(source) if isinstance(source, (str, PathLike)) else f"image {number}"
