"""An exported detector beside the one of torch: seconds of each stage, start, memory, and how far they differ."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from rich.box import SIMPLE_HEAD
from rich.table import Table

from spp_det.detection import Detector
from spp_det.detection.bundle import load_detector, save_detector
from spp_det.evaluation.detect_speed import Untrained
from spp_det.evaluation.timing import fill_windows, time_sides, without_proposals
from spp_det.networks.precision import multiplies_bfloat16
from spp_det.regions import SPPRegions
from spp_det.structures import Image
from spp_det.training import BoxRegressor, LinearSVMs
from spp_det.watch import Watch

START = """
import json, re, sys, time
begin = time.perf_counter()
from spp_det import Detector
detector = getattr(Detector, sys.argv[1])(sys.argv[2])
loaded = time.perf_counter() - begin
detector.detect(sys.argv[3])
ended = time.perf_counter() - begin
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())  # ru_maxrss counts the parent's memory, too
print(json.dumps([loaded, ended, int(peak[1]) / 1024]))
"""
ONNX = "onnxruntime"
STAGES = {"maps_s": "maps", "first_look_s": "look", "pooling_s": "pooling", "fc_s": "fc", "rest_s": "rest"}
PROCESSES = 3  # of each side: the median of their times counts


def write_untrained(folder: Path, trunk: str, weights: str, scale: int) -> dict[str, Path]:
    """Runs of untrained layers, dense and compressed, by name: their times are those of trained ones."""
    untrained = Untrained(trunk, weights, (scale,))
    runs = {}
    for name, detector in zip(("dense", "compressed"), untrained.detectors()[:2], strict=True):
        regions, svms, regressor = detector.regions, detector.svms, detector.regressor
        assert isinstance(regions, SPPRegions)
        assert isinstance(svms, LinearSVMs)
        assert isinstance(regressor, BoxRegressor)
        runs[name] = folder / name
        parts = regions.trunk, regions.head, svms, regressor
        config, layer = untrained.config("spp"), detector.regression_layer
        save_detector(runs[name], config, detector.class_names, *parts, layer, detector.first_look)
    return runs


def compare_exports(
    runs: Mapping[str, Path],
    folder: Path,
    images: Sequence[tuple[str, Image]],
    num_windows: int = 2000,
    repeats: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Export runs into a folder and time them, by torch and by onnxruntime, on images, (id, uint8 [H, W, 3]).

    Returns {"sides": {name: {stage: seconds, .., "total_s", "start_s", "first_s", "peak_mb"}}, "difference": {run: the
    largest of a score}, "bytes": {run: of the exported files}, "windows", "images"}. start_s: to import and load;
    first_s: until the first image is done; peak_mb: of such a process.
    """
    sides: dict[str, Detector] = {}
    started: dict[str, tuple[str, Path]] = {}
    difference, sizes = {}, {}
    for name, run in runs.items():
        plain, out = load_detector(run), folder / f"{name}-onnx"
        plain.export(out)
        sides[f"{name}, torch, float32"] = plain
        if multiplies_bfloat16():
            sides[f"{name}, torch, bfloat16"] = load_detector(run, precision="bfloat16")
        sides[f"{name}, {ONNX}"] = exported = Detector.load_onnx(out)
        started |= {f"{name}, torch, float32": ("load", run), f"{name}, {ONNX}": ("load_onnx", out)}
        difference[name] = max(_difference(plain, exported, image, num_windows) for _, image in images)
        sizes[name] = sum(path.stat().st_size for path in out.iterdir())
    seconds = time_sides(images, sides, num_windows, dict.fromkeys(sides, repeats), progress)
    picture = folder / "picture.png"
    PillowImage.fromarray(images[0][1]).save(picture)
    found: dict[str, Any] = {name: dict(stages) for name, stages in seconds.items()}
    for name, (method, path) in started.items():
        found[name] |= _start(method, path, picture)
    counts = {"windows": num_windows, "images": len(images)}
    return {"sides": found, "difference": difference, "bytes": sizes, **counts}


def export_table(result: dict[str, Any]) -> Table:
    """The stages of `compare_exports`, a side to a row, narrow enough for 80 columns."""
    sides = result["sides"]
    stages = {stage: title for stage, title in STAGES.items() if any(stage in side for side in sides.values())}
    title = f"ms an image, median of {result['images']}; {result['windows']} windows"
    table = _by_side(title, [*stages.values(), "all"])
    for name, side in sides.items():
        found = [f"{1e3 * side[stage]:.1f}" if stage in side else "" for stage in stages]
        table.add_row(*name.split(", ", 1), *found, f"{1e3 * without_proposals(side):.1f}")
    differences = ", ".join(f"{name} {value:.1e}" for name, value in result["difference"].items())
    table.caption = f"largest difference of a score from torch, both in float32: {differences}"
    return table


def start_table(result: dict[str, Any]) -> Table:
    """What a new process of each side takes until its first image is done."""
    table = _by_side("a new process", ["loaded, s", "an image, s", "peak, MB", "folder, MB"])
    for name, side in result["sides"].items():
        if "start_s" in side:
            run, engine = name.split(", ", 1)
            size = f"{result['bytes'][run] / 1e6:.0f}" if engine == ONNX else ""
            facts = f"{side['start_s']:.2f}", f"{side['first_s']:.2f}", f"{side['peak_mb']:.0f}", size
            table.add_row(run, engine, *facts)
    return table


def _by_side(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("run", "by", *headings):
        table.add_column(heading, justify="left" if heading in ("run", "by") else "right", no_wrap=True)
    return table


def _difference(plain: Detector, exported: Detector, image: Image, num_windows: int) -> float:
    """The largest difference of a score, over the windows that both first looks let through."""
    boxes = fill_windows(plain.proposals.propose(image, "").boxes, image.shape[:2], num_windows)
    both = [each.score(each.pool(image, boxes, Watch()), Watch()) for each in (plain, exported)]
    _, ours, theirs = np.intersect1d(both[0].rows, both[1].rows, return_indices=True)
    return float(np.abs(both[0].scores[ours] - both[1].scores[theirs]).max())


def _start(method: str, path: Path, picture: Path) -> dict[str, float]:
    """Of new processes, the median: seconds until all is loaded, and until an image is done; their peak memory."""
    command = [sys.executable, "-c", START, method, str(path), str(picture)]
    runs = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(PROCESSES)]
    loaded, ended, peak = np.median(runs, axis=0).tolist()
    return {"start_s": loaded, "first_s": ended, "peak_mb": peak}
