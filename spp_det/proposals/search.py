"""Selective search (Uijlings, van de Sande, Gevers, Smeulders: IJCV 2013).

Every colour space is segmented in some coarsenesses, and every segmentation is grouped with every set of similarities:
one hierarchy each. The regions of all hierarchies are the windows. `strategies` says which, for each mode.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from spp_det.errors import ConfigError
from spp_det.parallel import available_cores
from spp_det.proposals import grouping
from spp_det.proposals.adjacency import adjacency, measure
from spp_det.proposals.coarsening import borders, coarsen, join_regions
from spp_det.proposals.colour import Planes, to_planes
from spp_det.proposals.grouping import Hierarchy, Regions, Similarity
from spp_det.proposals.histograms import histogram_bins, region_histograms
from spp_det.proposals.ranking import distinct, rank
from spp_det.proposals.segmentation import Grid, Segmentation, segment, smooth, sort_edges
from spp_det.proposals.strategies import MODES, Level, Strategies
from spp_det.structures import Image, Proposals, check_image
from spp_det.watch import Watch

P = ParamSpec("P")
T = TypeVar("T")
Bins = npt.NDArray[np.uint8]  # of `histogram_bins`

log = logging.getLogger(__name__)

MAX_PIXELS = 500_000  # larger images are searched at about this size; R-CNN's own demo does so at a width of 500


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

    image: uint8 [H, W, 3], RGB; one of more than half a million pixels is searched at that, and its windows are scaled
    back. mode: "fast" (18 hierarchies, about 2,100 windows of a VOC image), "released" (the 8 of the R-CNN and SPP-net
    releases, about 2,200) or "quality" (the paper's 80, about 10,000). A window's rank in its hierarchy (the whole
    image has 1), times a random number in [0, 1) drawn with `seed`, orders the windows (section 3.3 of the paper); the
    fast mode draws from [0.25, 1), which leaves less to luck.
    Windows under `min_side` pixels in width or height are dropped, of equal ones all but the best, and in the fast mode
    those whose IoU with a better one is above 0.87. `max_windows` keeps the best so many. `threads` (every core, if
    None) changes the time, never the result. The first call of all compiles for some seconds, and logs that.

    Raises ValueError for an image or a setting out of its range.
    """
    image = check_image(image)
    _check_settings(mode, seed, min_side, max_windows, threads)
    _announce_compilation()
    bounded = _bounded(image)
    strategies = MODES[mode]
    hierarchies = build_hierarchies(bounded, strategies, threads or available_cores())
    boxes, priorities = rank(hierarchies, np.random.default_rng(seed), strategies.chance)
    height, width = image.shape[:2]
    scale = np.array([width / bounded.shape[1], height / bounded.shape[0]] * 2, np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2]) * scale[:2]
    wide = np.flatnonzero((sides[:, 0] >= min_side) & (sides[:, 1] >= min_side))
    boxes = boxes[wide[np.argsort(priorities[wide], kind="stable")]]
    boxes = boxes[distinct(boxes, strategies.overlap)][:max_windows]
    return Proposals(np.minimum(boxes * scale, np.array([width, height] * 2, np.float32)))


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


def build_hierarchies(
    image: Image, strategies: Strategies, threads: int, watch: Watch | None = None
) -> list[Hierarchy]:
    """The hierarchy of every strategy, in the order colour, level, similarity; `threads` does not change them.

    A job waits for the results of others that were submitted before it, and so are done or running when it starts.
    watch: counts the seconds of each stage, with one thread only.
    """
    levels = strategies.levels
    chains = [levels] if strategies.shortcuts else [(level,) for level in levels]
    clock = _Stages(watch)
    with ThreadPoolExecutor(threads, "selective-search") as pool:
        planes = [pool.submit(clock.timed, "colours", to_planes, image, colour) for colour in strategies.colours]
        grids = [pool.submit(_grid, clock, each, strategies.shortcuts) for each in planes]
        bins = [pool.submit(_bins, clock, each) for each in planes]
        found = [
            pool.submit(_regions, clock, *space, chain) for space in zip(grids, bins, strict=True) for chain in chains
        ]
        jobs = [(part, i) for part in found for i in range(len(chains[0]))]
        groups = [
            pool.submit(_group, clock, *job, similarity) for job in jobs for similarity in strategies.similarities
        ]
        return [group.result() for group in groups]


@dataclass(frozen=True)
class _Stages:
    """Calls functions, and counts what they take towards a stage where there is a watch."""

    watch: Watch | None

    def timed(self, name: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.watch is None:
            return function(*args, **kwargs)
        with self.watch.stage(name):
            return function(*args, **kwargs)


def _grid(clock: _Stages, planes: Future[Planes], prune: bool) -> Grid:
    smoothed = clock.timed("colours", smooth, planes.result())
    return clock.timed("edges", sort_edges, smoothed, prune)


def _bins(clock: _Stages, planes: Future[Planes]) -> Bins:
    return clock.timed("bins", histogram_bins, planes.result())


def _regions(clock: _Stages, grid: Future[Grid], bins: Future[Bins], chain: tuple[Level, ...]) -> list[Regions]:
    """The regions of the first level, from the pixels, and of each that continues from the one before it."""
    segmentation = clock.timed("segmentation", segment, grid.result(), chain[0].k, chain[0].min_size)
    labels = segmentation.labels
    sizes, boxes = clock.timed("neighbours", measure, labels)
    histograms = clock.timed("histograms", region_histograms, bins.result(), labels, sizes)
    neighbours = clock.timed("neighbours", adjacency, labels, len(sizes))
    first = Regions(labels.size, sizes, boxes, histograms, *neighbours)
    return clock.timed("coarser", _coarser, first, segmentation, chain[1:])


def _coarser(first: Regions, segmentation: Segmentation, levels: tuple[Level, ...]) -> list[Regions]:
    """The first regions, and those of each further level."""
    found = [first]
    if not levels:
        return found
    edges = borders(segmentation)
    for level in levels:
        number, edges = coarsen(edges, found[-1].sizes, level.k, level.min_size)
        found.append(join_regions(found[-1], number))
    return found


def _group(clock: _Stages, regions: Future[list[Regions]], index: int, similarity: Similarity) -> Hierarchy:
    return clock.timed("grouping", grouping.group, regions.result()[index], similarity)


def _bounded(image: Image) -> Image:
    """The image, or where it has more than MAX_PIXELS a smaller one, each pixel the mean of those that it covers."""
    height, width = image.shape[:2]
    if height * width <= MAX_PIXELS:
        return image
    scale = math.sqrt(MAX_PIXELS / (height * width))
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _check_settings(mode: str, seed: int, min_side: int, max_windows: int | None, threads: int | None) -> None:
    if mode not in MODES:
        raise ValueError(f"there is no mode {mode!r}; the modes are {', '.join(MODES)}")
    least = {"seed": (seed, 0), "min_side": (min_side, 1), "max_windows": (max_windows, 0), "threads": (threads, 1)}
    for name, (value, bound) in least.items():
        if value is not None and value < bound:
            raise ValueError(f"{name} is {value}, but at least {bound} is needed")


def _announce_compilation() -> None:
    """Logs, once a process, that the first run on a machine compiles."""
    kernel = grouping._group
    if not kernel.signatures and not any(Path(str(kernel.stats.cache_path)).glob("grouping._group-*.nbi")):
        log.info("compiling selective search, once on this machine: up to half a minute")
