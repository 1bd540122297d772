"""How fast `detect` is on a GPU: one image's stages beside their floor, and images a second with the proposals."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import torch
from rich.table import Table

from spp_det.detection import Detector
from spp_det.detection.candidates import finish
from spp_det.detection.on_device import choose_device
from spp_det.evaluation.detect_speed import DTYPES, Untrained
from spp_det.evaluation.floors import floors, measure_peaks
from spp_det.evaluation.timing import TITLES, fill_windows
from spp_det.regions import SPPRegions
from spp_det.structures import Image, Proposals
from spp_det.watch import Watch

PRECISIONS = DTYPES | {"float16": torch.float16}


def gpu_detector(untrained: Untrained, precision: str, device: str = "cuda") -> Detector:
    """The dense detector of a seed on a device. Raises ConfigError where there is no such device."""
    there = choose_device(device)
    detector, _, _ = untrained.detectors()
    assert isinstance(detector.regions, SPPRegions)
    for network in (detector.regions.trunk, detector.regions.head):
        network.to(there, PRECISIONS[precision])
    return detector


def time_on_device(
    detector: Detector, images: Sequence[tuple[str, Image]], num_windows: int = 2000, repeats: int = 100
) -> dict[str, Any]:
    """Seconds an image, without proposals: {"stages": {stage: median}, "total_s": median, "floors": {stage: seconds}}.

    images: (image id, uint8 [H, W, 3]) of each. The total is taken of whole calls, which nothing interrupts; the
    stages of others, each of which waits for the device, so that their sum is more. floors: as in floors.py, of the
    first image, by the products and copies of the same device.
    """
    stages: list[dict[str, float]] = []
    totals: list[float] = []
    for image_id, image in images:
        boxes = fill_windows(detector.proposals.propose(image, image_id).boxes, image.shape[:2], num_windows)
        for _ in range(10):  # compiles, and takes memory
            _one(detector, image, Proposals(boxes))
        for _ in range(repeats):
            start = time.perf_counter()
            _one(detector, image, Proposals(boxes))
            totals.append(time.perf_counter() - start)
        for _ in range(repeats):
            watch = Watch()
            _one(detector, image, Proposals(boxes), watch)
            stages.append(watch.seconds)
    image_id, image = images[0]
    boxes = fill_windows(detector.proposals.propose(image, image_id).boxes, image.shape[:2], num_windows)
    device = next(detector.regions.head.parameters()).device
    peaks = measure_peaks(device=device)
    return {
        "stages": {name: statistics.median(each[name] for each in stages) for name in stages[0]},
        "total_s": statistics.median(totals),
        "floors": floors(detector, image, boxes, peaks),
        "peaks": peaks,
        "windows": num_windows,
        "images": len(images),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
    }


def _one(detector: Detector, image: Image, proposals: Proposals, watch: Watch | None = None) -> None:
    candidates = detector.candidates(image, proposals, watch)
    size = image.shape[0], image.shape[1]
    finish(candidates, candidates.regressed, size, detector.class_names, detector.settings)


def images_a_second(
    detector: Detector,
    images: Sequence[Image],
    count: int,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """Images a second of `detect_many` with proposals made by processes, the images over and over.

    The clock starts with the first result, when all processes have started.
    """
    found = detector.detect_many(islice(cycle(images), count + 1), workers=workers)
    next(found)
    start = time.perf_counter()
    for done, _ in enumerate(found, 1):
        progress(done, count)
    return count / (time.perf_counter() - start)


def gpu_table(result: dict[str, dict[str, Any]]) -> Table:
    """Results of `time_on_device` by name as a table to print, in milliseconds."""
    table = Table(title="ms an image, without proposals")
    table.add_column("stage")
    for name in result:
        table.add_column(name, justify="right")
        table.add_column("floor", justify="right")
    stages = [stage for stage in TITLES if any(stage in each["stages"] for each in result.values())]
    for stage in stages:
        cells = [_cells(each["stages"].get(stage), each["floors"].get(stage)) for each in result.values()]
        table.add_row(TITLES[stage], *(cell for pair in cells for cell in pair))
    cells = [_cells(each["total_s"], sum(each["floors"].values())) for each in result.values()]
    table.add_row("total", *(cell for pair in cells for cell in pair))
    return table


def _cells(*seconds: float | None) -> list[str]:
    return ["" if value is None else f"{1000 * value:.2f}" for value in seconds]
