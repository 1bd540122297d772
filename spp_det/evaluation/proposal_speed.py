"""Selective search beside OpenCV's: seconds, windows, and how well these cover the objects.

Both sides see the same pixels, image by image in turns, first with every core and then with one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from spp_det.datasets import Dataset
from spp_det.evaluation.peers import OpenCVPeer
from spp_det.evaluation.recall_curve import STYLES, Curve, baselines, coverage, ranked, recall_curve
from spp_det.evaluation.timing import thread_limit
from spp_det.proposals import selective_search
from spp_det.structures import Image, Proposals, Size, Target

MIN_SIDE = 20  # pixels; what SPP-net and R-CNN keep of selective search
SIDES = ("spp_det", "opencv")
PEER_MODES = {"fast": "fast", "released": "fast", "quality": "quality"}  # of OpenCV, beside each of ours
TITLES = {
    "opencv": f"OpenCV, >= {MIN_SIDE} px",
    "spp_det_as_many": "spp_det, as many",
    "spp_det": f"spp_det, >= {MIN_SIDE} px",
    "opencv_any_size": "OpenCV, all sizes",
    "spp_det_any_size": "spp_det, all sizes",
}

Found = dict[str, Proposals]  # the windows of each image, or of each side


@dataclass(frozen=True)
class Comparison:
    """What `compare_proposals` measured.

    targets: by image. windows: those of each image, by the keys of `TITLES`. figures: what the JSON file gets.
    """

    targets: dict[str, Target]
    windows: dict[str, Found]
    figures: dict[str, Any]


def compare_proposals(
    dataset: Dataset,
    ids: Sequence[str],
    peer: OpenCVPeer,
    mode: str = "fast",
    cores: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run `selective_search` and OpenCV's on images of a data set, with `cores` threads and with one.

    mode: ours, a key of `PEER_MODES`, which says OpenCV's beside it; each side at its own settings. progress: called
    with the images done and of how many. The first image is run once before, untimed. The figures:
      {"speedup"                  OpenCV's median ms over ours with `cores` threads
       "speedup_one_thread"       the same with one
       "ms"                       {threads: {"spp_det", "opencv"}}, medians over the images
       "quality"                  `coverage` by the keys of `TITLES`
       "mode", "images", "opencv" (its version)}
    Raises ValueError where there is no image.
    """
    if not ids:
        raise ValueError("a comparison needs an image at least")
    threads = tuple(dict.fromkeys((cores, 1)))
    seconds: dict[tuple[int, str], list[float]] = {(count, side): [] for count in threads for side in SIDES}
    windows: dict[str, Found] = {key: {} for key in TITLES}
    for count in threads:
        _run_both(dataset.image(ids[0]), peer, mode, count, SIDES)
    for number, image_id in enumerate(ids):
        image = dataset.image(image_id)
        for count in threads:
            found, took = _run_both(image, peer, mode, count, SIDES if number % 2 == 0 else SIDES[::-1])
            for side in SIDES:
                seconds[count, side].append(took[side])
        theirs, ours = found["opencv"], found["spp_det"]
        large = _large(theirs)
        windows["opencv"][image_id] = large
        windows["spp_det_as_many"][image_id] = ours[: len(large)]
        windows["spp_det"][image_id] = ours
        windows["opencv_any_size"][image_id] = theirs
        windows["spp_det_any_size"][image_id] = selective_search(image, mode, min_side=1)
        if progress:
            progress(number + 1, len(ids))
    targets = {image_id: dataset.target(image_id) for image_id in ids}
    ms = {n: {side: 1000 * statistics.median(seconds[n, side]) for side in SIDES} for n in threads}
    figures = {
        "speedup": ms[cores]["opencv"] / ms[cores]["spp_det"],
        "speedup_one_thread": ms[1]["opencv"] / ms[1]["spp_det"],
        "ms": ms,
        "quality": {key: coverage(targets, found, dataset.class_names) for key, found in windows.items()},
        "mode": mode,
        "images": len(ids),
        "opencv": peer.version,
    }
    return Comparison(targets, windows, figures)


def recall_curves(
    dataset: Dataset,
    comparison: Comparison,
    peer: OpenCVPeer,
    cores: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Curve]:
    """The curves of both sides in all modes and of the baselines, on the images of a comparison, by their `STYLES`.

    Arguments as in `compare_proposals`; of OpenCV only the mode that the comparison lacks is run here.
    """
    known = PEER_MODES[comparison.figures["mode"]]
    other = "quality" if known == "fast" else "fast"
    windows: dict[str, Found] = {f"spp_det, {mode}": {} for mode in PEER_MODES}
    windows |= {f"OpenCV, {known}": comparison.windows["opencv"], f"OpenCV, {other}": {}}
    sizes: dict[str, Size] = {}
    for number, image_id in enumerate(comparison.targets, 1):
        image = dataset.image(image_id)
        sizes[image_id] = image.shape[:2]
        for mode in PEER_MODES:
            windows[f"spp_det, {mode}"][image_id] = selective_search(image, mode, min_side=MIN_SIDE)
        boxes, _ = peer.selective_search(image, other, cores)
        windows[f"OpenCV, {other}"][image_id] = _large(Proposals(boxes))
        if progress:
            progress(number, len(comparison.targets))
    choices = {name: ranked(found) for name, found in windows.items()} | baselines(sizes)
    return {name: recall_curve(comparison.targets, choices[name]) for name in STYLES}


def speed_table(figures: dict[str, Any]) -> Table:
    """Median ms of an image, from the figures of `compare_proposals`."""
    table = Table(title=f"ms an image, {figures['mode']} mode, median of {figures['images']}", title_justify="left")
    for heading in ("threads", f"OpenCV {figures['opencv']}", "spp_det", "OpenCV / spp_det"):
        table.add_column(heading, justify="right")
    for threads, ms in figures["ms"].items():
        theirs, ours = ms["opencv"], ms["spp_det"]
        table.add_row(str(threads), f"{theirs:.0f}", f"{ours:.1f}", f"{theirs / ours:.1f}x")
    return table


def coverage_table(figures: dict[str, Any]) -> Table:
    """Windows of an image and how they cover the objects, from the figures of `compare_proposals`."""
    objects = figures["quality"]["spp_det"]["objects"]
    table = Table(title=f"the windows of {figures['images']} images with {objects} objects", title_justify="left")
    table.add_column("")
    for heading in ("windows", "recall 0.5", "recall 0.7", "ABO", "MABO"):
        table.add_column(heading, justify="right")
    for key, title in TITLES.items():
        row = figures["quality"][key]
        shares = [f"{row[name]:.3f}" for name in ("recall_0.5", "recall_0.7", "abo", "mabo")]
        table.add_row(title, f"{row['windows']:.0f}", *shares)
    return table


def _run_both(
    image: Image, peer: OpenCVPeer, mode: str, threads: int, order: Sequence[str]
) -> tuple[Found, dict[str, float]]:
    """The windows and the seconds of each side."""
    found: Found = {}
    seconds: dict[str, float] = {}
    for side in order:
        if side == "opencv":
            boxes, seconds[side] = peer.selective_search(image, PEER_MODES[mode], threads)
            found[side] = Proposals(boxes)
        else:
            with thread_limit(threads):
                start = time.perf_counter()
                found[side] = selective_search(image, mode, min_side=MIN_SIDE, threads=threads)
                seconds[side] = time.perf_counter() - start
    return found, seconds


def _large(windows: Proposals) -> Proposals:
    """Those of `MIN_SIDE` and more in width and height."""
    sides = windows.boxes[:, 2:] - windows.boxes[:, :2]
    return windows[np.flatnonzero((sides >= MIN_SIDE).all(axis=1))]
