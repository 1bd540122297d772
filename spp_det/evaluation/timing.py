"""Seconds for each stage of a detector, pooled windows of one map beside R-CNN's crops.

Both sides see the same images, windows and number of threads, image by image in turns, and share the trunk and the
layers behind it, so that what differs is where the vectors come from. A side's stages:

proposals   the windows; the same for both, timed once
maps        the trunk's passes, R-CNN: cutting and warping the crops too
first_look  a coarse vector for each window, which drops most of them; only where the detector has it
pooling     a vector for each window; SPP-net: one for all windows of the same cells
fc          fc6, fc7
rest        SVM scores, suppression, box regression
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numba
import numpy as np
import torch
from rich.table import Table

from spp_det.boxes import clip
from spp_det.detection.candidates import finish
from spp_det.detection.detector import Detector
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Boxes, Image, Proposals, Size
from spp_det.watch import Clock, Watch

Seconds = dict[str, float]  # by stage
STAGES = ("proposals_s", "maps_s", "first_look_s", "pooling_s", "fc_s", "rest_s")
TITLES = {
    "maps_s": "maps or crops",
    "first_look_s": "first look",
    "pooling_s": "pooling",
    "fc_s": "fc6, fc7",
    "rest_s": "the rest",
    "proposals_s": "proposals",
    "total_s": "total",
}
WARM_UP_WINDOWS = 64


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
    _check_regions(spp, SPPRegions)
    _check_regions(rcnn, RCNNRegions)
    with thread_limit(threads) as used_threads:
        sides = time_sides(images, {"spp": spp, "rcnn": rcnn}, num_windows, {"spp": repeats, "rcnn": repeats}, progress)
    spp_s, rcnn_s = sides["spp"], sides["rcnn"]
    return {
        "spp": spp_s,
        "rcnn": rcnn_s,
        "speedup": without_proposals(rcnn_s) / without_proposals(spp_s),
        "speedup_with_proposals": rcnn_s["total_s"] / spp_s["total_s"],
        "windows": num_windows,
        "images": len(images),
        "threads": used_threads,
    }


def time_sides(
    images: Sequence[tuple[str, Image]],
    sides: Mapping[str, Detector],
    num_windows: int,
    repeats: Mapping[str, int],
    progress: Callable[[int, int], None] | None = None,
    clock: Clock = time.perf_counter,
    limits: Mapping[str, int] | None = None,
) -> dict[str, Seconds]:
    """The seconds of each stage of several detectors by name, medians over images and repeats; see `time_detectors`.

    The windows come from the first detector's proposals. The sides take turns from image to image, and the order turns
    with each. repeats: runs of each side over an image, one after the other, as a detector works that is alone: what
    another side leaves in the caches is not its affair. Each of the stages has its own median, total_s is their sum.
    limits: how many of the images, the first, a side is timed on at most.
    """
    if not images or min(repeats.values()) < 1 or num_windows < 1:
        raise ValueError("timing needs an image, a window and a run at least")
    names = list(sides)
    runs: dict[str, list[Seconds]] = {name: [] for name in names}
    _warm_up(images[0], sides.values())
    for number, (image_id, image) in enumerate(images):
        watch = Watch(clock)
        with watch.stage("proposals_s"):
            proposals = sides[names[0]].proposals.propose(image, image_id)
        boxes = fill_windows(proposals.boxes, image.shape[:2], num_windows)
        for name in names if number % 2 == 0 else reversed(names):
            if limits and number >= limits.get(name, len(images)):
                continue
            for _ in range(repeats[name]):
                runs[name].append(watch.seconds | time_stages(sides[name], image, boxes, clock))
        if progress:
            progress(number + 1, len(images))
    return {name: summary(of_side) for name, of_side in runs.items()}


def timing_table(result: dict[str, Any]) -> Table:
    """The result of `time_detectors` as a table to print."""
    spp, rcnn = result["spp"], result["rcnn"]
    count, windows, threads = result["images"], result["windows"], result["threads"]
    table = Table(title=f"seconds an image, median of {count}; {windows} windows, {threads} threads")
    table.add_column("stage")
    for heading in ("SPP-net", "R-CNN", "R-CNN / SPP-net"):
        table.add_column(heading, justify="right")
    present = [stage for stage in TITLES if stage in spp or stage in rcnn]
    rows = [(TITLES[stage], spp.get(stage, 0.0), rcnn.get(stage, 0.0)) for stage in present]
    rows.insert(-2, ("without proposals", without_proposals(spp), without_proposals(rcnn)))
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


def time_stages(detector: Detector, image: Image, boxes: Boxes, clock: Clock = time.perf_counter) -> Seconds:
    """The seconds of each stage of one image but for its proposals, boxes float32 [N, 4]."""
    watch = Watch(clock)
    candidates = detector.candidates(image, Proposals(boxes), watch)
    with watch.stage("rest_s"):
        size = image.shape[0], image.shape[1]
        finish(candidates, candidates.regressed, size, detector.class_names, detector.settings)
    return watch.seconds


def _check_regions(detector: Detector, kind: type) -> None:
    if not isinstance(detector.regions, kind):
        raise ValueError(f"{type(detector.regions).__name__} stand where {kind.__name__} belong")


def _warm_up(first: tuple[str, Image], detectors: Iterable[Detector]) -> None:
    """Compile kernels and fill caches, with few windows."""
    image_id, image = first
    for detector in detectors:
        proposals = detector.proposals.propose(image, image_id)
        time_stages(detector, image, fill_windows(proposals.boxes, image.shape[:2], WARM_UP_WINDOWS))


def summary(runs: Sequence[Seconds]) -> Seconds:
    """The median of each stage over runs that have the same stages, and their sum as "total_s"."""
    medians = {stage: statistics.median(run[stage] for run in runs) for stage in STAGES if stage in runs[0]}
    return medians | {"total_s": sum(medians.values())}


def without_proposals(seconds: Seconds) -> float:
    """What is left of the total without the proposals."""
    return seconds["total_s"] - seconds["proposals_s"]
