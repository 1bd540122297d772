"""Seconds for each stage of a detector, pooled windows of one map beside R-CNN's crops.

Both sides see the same images, windows and number of threads, image by image in turns, and share the trunk and the
layers behind it, so that what differs is where the vectors come from. A side's stages:

proposals   the windows; the same for both, timed once
maps        the trunk's passes, R-CNN: cutting and warping the crops too
pooling     a vector for each window; SPP-net: one for all windows of the same cells
fc          fc6, fc7
rest        SVM scores, suppression, box regression
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numba
import numpy as np
import torch
from rich.table import Table

from spp_det.boxes import clip
from spp_det.detection.candidates import finish
from spp_det.detection.detector import Detector, Vectors
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Boxes, Image, Labels, Size

Seconds = dict[str, float]  # by stage
STAGES = ("proposals_s", "maps_s", "pooling_s", "fc_s", "rest_s")
TITLES = {
    "maps_s": "maps or crops",
    "pooling_s": "pooling",
    "fc_s": "fc6, fc7",
    "rest_s": "the rest",
    "proposals_s": "proposals",
    "total_s": "total",
}
WARM_UP_WINDOWS = 64


class Watch:
    """Adds up the seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block towards a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def time_detectors(
    images: Sequence[tuple[str, Image]],
    spp: Detector,
    rcnn: Detector,
    num_windows: int = 2000,
    repeats: int = 1,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Time two detectors that differ in their region extractor, SPPRegions and RCNNRegions.

    images: (image id, uint8 [H, W, 3]) of each. num_windows: of every image, see `fill_windows`. repeats: runs over
    each image. threads: for torch, numba and OpenCV; None leaves them as they are. progress: called with the images
    done and of how many.

    Returns seconds an image, each stage the median over images and repeats, total_s the sum of the stages:
      {"spp": {"proposals_s", "maps_s", "pooling_s", "fc_s", "rest_s", "total_s"}, "rcnn": {..},
       "speedup", "speedup_with_proposals", "windows", "images", "threads"}
    speedup is R-CNN's seconds over SPP-net's without proposals, as in the paper's tables. Raises ValueError where
    there is no image, window or repeat to time, a detector has the wrong regions, or there are more threads than
    cores.
    """
    if not images or repeats < 1 or num_windows < 1:
        raise ValueError("timing needs an image, a window and a run at least")
    sides = {"spp": _Side(spp, SPPRegions, _spp_vectors), "rcnn": _Side(rcnn, RCNNRegions, _rcnn_vectors)}
    runs: dict[str, list[Seconds]] = {name: [] for name in sides}
    with thread_limit(threads) as used_threads:
        _warm_up(images[0], sides.values())
        for number, (image_id, image) in enumerate(images):
            watch = Watch()
            with watch.stage("proposals_s"):
                proposals = spp.proposals.propose(image, image_id)
            boxes = fill_windows(proposals.boxes, image.shape[:2], num_windows)
            for repeat in range(repeats):
                for name in ("spp", "rcnn") if (number + repeat) % 2 == 0 else ("rcnn", "spp"):
                    runs[name].append(watch.seconds | sides[name].run(image, boxes))
            if progress:
                progress(number + 1, len(images))
    spp_s, rcnn_s = _summary(runs["spp"]), _summary(runs["rcnn"])
    return {
        "spp": spp_s,
        "rcnn": rcnn_s,
        "speedup": _without_proposals(rcnn_s) / _without_proposals(spp_s),
        "speedup_with_proposals": rcnn_s["total_s"] / spp_s["total_s"],
        "windows": num_windows,
        "images": len(images),
        "threads": used_threads,
    }


def timing_table(result: dict[str, Any]) -> Table:
    """The result of `time_detectors` as a table to print."""
    spp, rcnn = result["spp"], result["rcnn"]
    count, windows, threads = result["images"], result["windows"], result["threads"]
    table = Table(title=f"seconds an image, median of {count}; {windows} windows, {threads} threads")
    table.add_column("stage")
    for heading in ("SPP-net", "R-CNN", "R-CNN / SPP-net"):
        table.add_column(heading, justify="right")
    rows = [(title, spp[stage], rcnn[stage]) for stage, title in TITLES.items()]
    rows.insert(4, ("without proposals", _without_proposals(spp), _without_proposals(rcnn)))
    for title, ours, theirs in rows:
        table.add_row(title, f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}x" if ours else "")
    return table


def fill_windows(boxes: Boxes, size: Size, count: int, seed: int = 0) -> Boxes:
    """Exactly `count` windows: the first of the boxes, then copies of them shifted by up to a tenth of their sides.

    boxes: float32 [N, 4] in an image of `size`; without any, the whole image is copied. Returns float32 [count, 4].
    """
    if len(boxes) >= count:
        return boxes[:count]
    height, width = size
    source = boxes if len(boxes) else np.array([[0, 0, width, height]], np.float32)
    rng = np.random.default_rng(seed)
    chosen = source[rng.integers(0, len(source), count - len(boxes))]
    sides = chosen[:, 2:] - chosen[:, :2]
    shift = rng.uniform(-0.1, 0.1, (len(chosen), 4)) * np.concatenate([sides, sides], axis=1)
    copies = clip((chosen + shift).astype(np.float32), size)
    return np.concatenate([boxes, copies])


@contextmanager
def thread_limit(threads: int | None) -> Iterator[int]:
    """As many threads for numba, torch and OpenCV within the block; None leaves them. Gives torch's number.

    Raises ValueError for more threads than there are cores.
    """
    before = numba.get_num_threads(), torch.get_num_threads(), cv2.getNumThreads()
    if threads is not None:
        _set_threads(threads, threads, threads)
    try:
        yield torch.get_num_threads()
    finally:
        _set_threads(*before)


def _set_threads(for_numba: int, for_torch: int, for_opencv: int) -> None:
    numba.set_num_threads(for_numba)  # first, since it is the one that refuses a number
    torch.set_num_threads(for_torch)
    cv2.setNumThreads(for_opencv)


@dataclass(frozen=True)
class _Side:
    """A detector, the regions that it must have, and how its pooled vectors come about, stage by stage:
    the distinct ones, and the row of each box among them."""

    detector: Detector
    kind: type
    pooled: Callable[[Any, Image, Boxes, Watch], tuple[Vectors, Labels]]

    def __post_init__(self) -> None:
        if not isinstance(self.detector.regions, self.kind):
            raise ValueError(f"{type(self.detector.regions).__name__} stand where {self.kind.__name__} belong")

    def run(self, image: Image, boxes: Boxes) -> Seconds:
        """The seconds of each stage for one image, but for the proposals."""
        watch, detector = Watch(), self.detector
        size = image.shape[0], image.shape[1]
        pooled, place = self.pooled(detector.regions, image, boxes, watch)
        with watch.stage("fc_s"):
            vectors = detector.at_layer(detector.layer, pooled)
        with watch.stage("rest_s"):
            candidates = detector.judge(boxes, pooled, place, detector.svms.decision_function(vectors), size)
            finish(candidates, candidates.regressed, size, detector.class_names, detector.settings)
        return watch.seconds


def _spp_vectors(regions: SPPRegions, image: Image, boxes: Boxes, watch: Watch) -> tuple[Vectors, Labels]:
    with watch.stage("maps_s"):
        maps = regions.image_features(image)
    with watch.stage("pooling_s"):
        first, place = regions.distinct(maps, boxes)
        return regions.pool(maps, boxes[first]), place


def _rcnn_vectors(regions: RCNNRegions, image: Image, boxes: Boxes, watch: Watch) -> tuple[Vectors, Labels]:
    vectors = np.empty((len(boxes), regions.dim("pool5")), np.float32)
    for start in range(0, len(boxes), regions.batch_size):
        block = slice(start, start + regions.batch_size)
        with watch.stage("maps_s"):
            maps = regions.maps(regions.crops(image, boxes[block]))
        with watch.stage("pooling_s"):
            vectors[block] = regions.pool(maps)
    return vectors, np.arange(len(boxes))


def _warm_up(first: tuple[str, Image], sides: Iterable[_Side]) -> None:
    """Compile kernels and fill caches, with few windows."""
    image_id, image = first
    for side in sides:
        proposals = side.detector.proposals.propose(image, image_id)
        side.run(image, fill_windows(proposals.boxes, image.shape[:2], WARM_UP_WINDOWS))


def _summary(runs: list[Seconds]) -> Seconds:
    medians = {stage: statistics.median(run[stage] for run in runs) for stage in STAGES}
    return medians | {"total_s": sum(medians.values())}


def _without_proposals(seconds: Seconds) -> float:
    return seconds["total_s"] - seconds["proposals_s"]
