"""Selective search (Uijlings, van de Sande, Gevers, Smeulders: IJCV 2013).

Every colour space is segmented with every k, and every segmentation is grouped with every set of similarities: one
hierarchy each. All regions of all hierarchies are proposals. The fast mode is that of the R-CNN and SPP-net releases
(selective_search_boxes.m): 8 hierarchies; the quality mode is the paper's 80 (its table 4).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spp_det.errors import ConfigError
from spp_det.proposals import grouping
from spp_det.proposals.adjacency import adjacency, measure
from spp_det.proposals.colour import to_planes
from spp_det.proposals.grouping import Hierarchy, Regions, Similarity
from spp_det.proposals.histograms import histogram_bins, region_histograms
from spp_det.proposals.segmentation import Grid, segment, smooth, sort_edges
from spp_det.structures import Image, Proposals, check_image

Job = TypeVar("Job")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

LARGE = 3_000_000  # pixels from which the colour spaces take turns: one holds about 30 bytes for each

CTSF = Similarity(colour=True, texture=True, size=True, fill=True)
TSF = Similarity(colour=False, texture=True, size=True, fill=True)
FILL = Similarity(colour=False, texture=False, size=False, fill=True)
SIZE = Similarity(colour=False, texture=False, size=True, fill=False)


@dataclass(frozen=True)
class Strategies:
    """All combinations of colour spaces, k (also the least size of a segment, in pixels) and similarity sets."""

    colours: tuple[str, ...]
    ks: tuple[int, ...]
    similarities: tuple[Similarity, ...]


MODES = {
    "fast": Strategies(("hsv", "lab"), (50, 100), (CTSF, TSF)),
    "quality": Strategies(("hsv", "lab", "rgi", "h", "intensity"), (50, 100, 150, 300), (CTSF, TSF, FILL, SIZE)),
}


def selective_search(
    image: Image,
    mode: str = "fast",
    seed: int = 0,
    *,
    min_side: int = 20,
    max_windows: int | None = None,
    threads: int | None = None,
) -> Proposals:
    """The windows of an image that may hold an object, best first.

    image: uint8 [H, W, 3], RGB. mode: "fast" (8 hierarchies, about 2,000 windows of a VOC image) or "quality" (80,
    about 10,000). A window's rank in its hierarchy (the whole image has 1), times a random number in [0, 1) drawn with
    `seed`, orders the windows (section 3.3 of the paper). Windows under `min_side` pixels in width or height are
    dropped, and of equal ones all but the best; `max_windows` keeps the best so many. `threads` (every core, if None)
    changes the time, never the result. The first call of all compiles for some seconds, and logs that.

    Raises ValueError for an image or a setting out of its range.
    """
    image = check_image(image)
    _check_settings(mode, seed, min_side, max_windows, threads)
    _announce_compilation()
    hierarchies = build_hierarchies(image, MODES[mode], threads or _cores())
    boxes, priorities = _ranked(hierarchies, np.random.default_rng(seed))
    sides = boxes[:, 2:] - boxes[:, :2]
    wide = (sides >= min_side).all(axis=1)
    boxes = boxes[wide][np.argsort(priorities[wide], kind="stable")]
    boxes = boxes[_first_of_equals(boxes, image.shape[:2])]
    return Proposals(boxes[:max_windows].astype(np.float32))


class SelectiveSearch:
    """`selective_search` with its settings, as a part for a configuration. Raises ConfigError for a wrong setting."""

    def __init__(
        self,
        mode: str = "fast",
        seed: int = 0,
        min_side: int = 20,
        max_windows: int | None = None,
        threads: int | None = None,
    ) -> None:
        try:
            _check_settings(mode, seed, min_side, max_windows, threads)
        except ValueError as fault:
            raise ConfigError(f"selective search: {fault}") from None
        self.mode = mode
        self.seed = seed
        self.min_side = min_side
        self.max_windows = max_windows
        self.threads = threads

    def propose(self, image: Image, image_id: str) -> Proposals:
        """The windows of one image, uint8 [H, W, 3]; its id does not matter."""
        return selective_search(
            image,
            self.mode,
            self.seed,
            min_side=self.min_side,
            max_windows=self.max_windows,
            threads=self.threads,
        )


def build_hierarchies(image: Image, strategies: Strategies, threads: int) -> list[Hierarchy]:
    """The hierarchy of every strategy, in the order colour, k, similarity: on `threads` threads, in any case alike."""
    colours = strategies.colours
    height, width = image.shape[:2]
    batches = [colours] if height * width <= LARGE else [(colour,) for colour in colours]
    hierarchies: list[Hierarchy] = []
    for batch in batches:
        spaces = _map(lambda colour: _prepare(image, colour), batch, threads)
        groups = _map(lambda job: _group_all(*job, strategies.similarities), product(spaces, strategies.ks), threads)
        hierarchies += [hierarchy for group in groups for hierarchy in group]
    return hierarchies


@dataclass(frozen=True)
class _Space:
    """An image in one colour space: what its pixels add to histograms, and its edges in order."""

    bins: npt.NDArray[np.uint8]
    grid: Grid


def _prepare(image: Image, colour: str) -> _Space:
    planes = to_planes(image, colour)
    return _Space(histogram_bins(planes), sort_edges(smooth(planes)))


def _group_all(space: _Space, k: int, similarities: tuple[Similarity, ...]) -> list[Hierarchy]:
    labels = segment(space.grid, k, min_size=k)
    sizes, boxes = measure(labels)
    histograms = region_histograms(space.bins, labels, sizes)
    starts, neighbours = adjacency(labels, len(sizes))
    regions = Regions(labels.size, sizes, boxes, histograms, starts, neighbours)
    return [grouping.group(regions, similarity) for similarity in similarities]


def _ranked(
    hierarchies: list[Hierarchy], generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(boxes int64 [N, 4] in the package's convention, priorities float64 [N], the best is the least)."""
    boxes = np.concatenate([h.boxes[::-1] for h in hierarchies]).astype(np.int64)
    boxes[:, 2:] += 1  # inclusive pixels to continuous ones
    ranks = np.concatenate([np.arange(1, len(h.boxes) + 1) for h in hierarchies])
    return boxes, ranks * generator.random(len(ranks))


def _first_of_equals(boxes: npt.NDArray[np.int64], size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """The indices of the boxes that equal none before them, rising."""
    height, width = size
    corner = boxes[:, :2] @ np.array([1, width + 1]) * ((width + 1) * (height + 1))
    _, first = np.unique(corner + boxes[:, 2:] @ np.array([1, width + 1]), return_index=True)
    return np.sort(first)


def _check_settings(mode: str, seed: int, min_side: int, max_windows: int | None, threads: int | None) -> None:
    if mode not in MODES:
        raise ValueError(f"there is no mode {mode!r}; the modes are {', '.join(MODES)}")
    least = {"seed": (seed, 0), "min_side": (min_side, 1), "max_windows": (max_windows, 0), "threads": (threads, 1)}
    for name, (value, bound) in least.items():
        if value is not None and value < bound:
            raise ValueError(f"{name} is {value}, but at least {bound} is needed")


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _map(function: Callable[[Job], Result], jobs: Iterable[Job], threads: int) -> list[Result]:
    """The results in the order of the jobs."""
    if threads == 1:
        return [function(job) for job in jobs]
    with ThreadPoolExecutor(threads, "selective-search") as pool:
        return list(pool.map(function, jobs))


def _announce_compilation() -> None:
    """Logs, once a process, that the first run on a machine compiles."""
    kernel = grouping._group
    if not kernel.signatures and not any(Path(str(kernel.stats.cache_path)).glob("grouping._group-*.nbi")):
        log.info("compiling selective search, once on this machine: up to half a minute")
