"""SPP-net beside R-CNN, both at their best: dense and compressed layers, float32 and bfloat16, in one run.

R-CNN is given the precision, the memory format and the batch in which its crops pass the trunk fastest, found out
first; its fully connected layers are the dense ones in that precision. What a stage takes hardly depends on what was
learnt, so that untrained layers will do; a trained run gives real ones, and its mAP where test_net.py took it.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from spp_det.config import Config, DataConfig, FinetuneConfig, MapsConfig, RegionsConfig, TrunkConfig
from spp_det.datasets import VOC_CLASSES
from spp_det.detection import Detector
from spp_det.detection.bundle import load_detector
from spp_det.detection.first_look import CHANNELS, UNITS, FirstLook
from spp_det.evaluation.floors import floors, measure_peaks
from spp_det.evaluation.timing import TITLES, Seconds, fill_windows, time_sides, without_proposals
from spp_det.files import read_json
from spp_det.networks import FcHead
from spp_det.parts import make_head, make_proposals, make_regions, make_trunk
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Boxes, Image
from spp_det.training import BoxRegressor, LinearSVMs
from spp_det.watch import Clock

HIDDEN = {"efficientnet_lite0": (1024, 1024)}  # as in configs/; 4096, 4096 for the others
LEVELS = {"vgg16": (1, 2, 3, 7)}
UNTRAINED_SCORE = -1.0  # above detect.min_score: suppression and regression have all they can have
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FORMATS = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
BATCHES = (16, 32, 64, 128)
TRIED_WINDOWS = 128
SPEEDUPS = {
    "speedup": "R-CNN / SPP-net",
    "speedup_same_precision": "in the same precision",
    "speedup_with_proposals": "with proposals",
    "speedup_with_peer_proposals": "R-CNN with OpenCV's",
}
REPEATS = 5  # of a side that takes a fraction of a second, against one of R-CNN's


@dataclass(frozen=True)
class Untrained:
    """Detectors whose layers are drawn from a seed.

    trunk, weights: as in the configuration; scales: short sides, px; ranks: of fc6 and fc7 when compressed; keep: the
    share of the windows that the first look lets through; width: units of fc6 and fc7 when compressed, None for all.
    """

    trunk: str = "alexnet"
    weights: str = "random"
    scales: tuple[int, ...] = (688,)
    ranks: tuple[int, int] = (256, 128)
    keep: float = 0.1
    width: tuple[int, int] | None = None
    seed: int = 0

    def config(self, kind: str) -> Config:
        """The configuration with region extractors of a kind, "spp" or "rcnn"."""
        return Config(
            data=DataConfig(root=""),
            trunk=TrunkConfig(self.trunk, self.weights),
            maps=MapsConfig(self.scales, levels=LEVELS.get(self.trunk, (1, 2, 3, 6))),
            regions=RegionsConfig(kind),
            finetune=FinetuneConfig(hidden=HIDDEN.get(self.trunk, (4096, 4096))),
        )

    def detectors(self) -> tuple[Detector, Detector, Detector]:
        """Dense, compressed and R-CNN's, float32, over one trunk.

        Every SVM gives nearly every window the same middling score, so that suppression and box regression, on both
        sides, have more to do than in a trained detector.
        """
        config = self.config("spp")
        trunk, rng = make_trunk(config), np.random.default_rng(self.seed)
        head = make_head(config, trunk, len(VOC_CLASSES)).eval()
        svms = LinearSVMs()
        svms.coef_ = _draw(rng, len(VOC_CLASSES), head.dim("fc7"))
        svms.intercept_ = np.full(len(VOC_CLASSES), UNTRAINED_SCORE, np.float32)
        svms.scale_ = 1.0
        names, proposals = VOC_CLASSES, make_proposals(config)
        pooled, thin = _regressor(rng, head.dim("pool5")), _thin(head, self.ranks, self.width)
        spp, rcnn = (make_regions(self.config(kind), trunk, head) for kind in ("spp", "rcnn"))
        dense = Detector(proposals, spp, svms, pooled, names)
        look = FirstLook(keep=self.keep)
        look.channels_ = np.arange(min(CHANNELS, trunk.out_channels))
        look.hidden_coef_ = _draw(rng, UNITS, len(look.channels_) * 5)
        look.coef_ = _draw(rng, len(names), UNITS)
        look.hidden_intercept_, look.intercept_ = np.zeros(UNITS, np.float32), np.zeros(len(names), np.float32)
        of_codes, small = _regressor(rng, self.ranks[0]), make_regions(config, trunk, thin)
        fewer = copy.copy(svms)
        fewer.coef_ = svms.coef_[:, : thin.dim("fc7")]
        compressed = Detector(proposals, small, fewer, of_codes, names, regression_layer="code6", first_look=look)
        return dense, compressed, Detector(proposals, rcnn, svms, pooled, names)


def _draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 1e-6, shape).astype(np.float32)


def _regressor(rng: np.random.Generator, dim: int) -> BoxRegressor:
    regressor = BoxRegressor()
    regressor.weights_, regressor.scale_ = _draw(rng, len(VOC_CLASSES), dim + 1, 4), 1.0
    return regressor


def _thin(head: FcHead, ranks: tuple[int, int], width: tuple[int, int] | None) -> FcHead:
    """A head like another with factors of some ranks, of no use but to be timed."""
    hidden = (head.fc6.out_features, head.fc7.out_features) if width is None else width
    return FcHead(head.fc6.in_features, hidden, head.fc8.out_features - 1, rank=ranks).eval()


def trained_detectors(run: Path, compressed: Path) -> tuple[Detector, Detector, Detector]:
    """Those of two trained runs, dense and compressed, and the dense one with R-CNN's crops; float32."""
    return load_detector(run), load_detector(compressed), load_detector(run, ["regions.kind=rcnn"])


def compare(
    images: Sequence[tuple[str, Image]],
    detectors: tuple[Detector, Detector, Detector],
    num_windows: int = 2000,
    progress: Callable[[int, int], None] | None = None,
    clock: Clock = time.perf_counter,
    peer_proposals: Callable[[Image], float] | None = None,
    rcnn_images: int | None = None,
    tried_windows: int = TRIED_WINDOWS,
) -> dict[str, Any]:
    """The seconds of every side, stage by stage; images: (image id, uint8 [H, W, 3]) of each.

    detectors: dense, compressed, R-CNN's, in float32. peer_proposals: the seconds that another program's proposals take
    for an image, such as OpenCV's, for R-CNN to have in place of ours. rcnn_images: R-CNN is timed on so many images,
    the first, where it takes minutes for one. tried_windows: by which its settings are chosen. Returns
      {"speedup", "speedup_with_proposals", "speedup_with_peer_proposals": of the fastest row; "best": its name;
       "rows": {name: {stage: seconds, .., "total_s", "without_proposals_s", and the four speed-ups}},
       "rcnn": {stage: seconds, .., "precision", "memory_format", "batch_size", "tried": {setting: seconds}}, faster,
       "rcnn_by_precision": {precision: the same}, "peer_proposals_s": or None,
       "peaks": see floors.py, "windows", "images", "rcnn_images", "threads", "processor"}
    Each row has its "floors" too, {stage: seconds}, for the first image. A speed-up is the faster R-CNN's seconds over
    the row's, without proposals but where its name says so; "speedup_same_precision" is over R-CNN in the row's own.
    clock: `time.process_time`, with one thread, gives figures on a machine that others use too.
    """
    dense, compressed, rcnn = detectors
    image_id, image = images[0]
    boxes = fill_windows(dense.proposals.propose(image, image_id).boxes, image.shape[:2], tried_windows)
    tuned, tried = tune_rcnn(rcnn, image, boxes, clock)
    sides = {
        f"{kind}, {name}": in_precision(detector, dtype)
        for kind, detector in (("dense", dense), ("compressed", compressed))
        for name, dtype in DTYPES.items()
    }
    crops = {f"R-CNN, {name}": detector for name, (detector, _) in tuned.items()}
    repeats = dict.fromkeys(sides, REPEATS) | dict.fromkeys(crops, 1)
    limits = dict.fromkeys(crops, len(images) if rcnn_images is None else rcnn_images)
    seconds = time_sides(images, sides | crops, num_windows, repeats, progress, clock, limits)
    theirs = {
        name: {
            **seconds[f"R-CNN, {name}"],
            "without_proposals_s": without_proposals(seconds[f"R-CNN, {name}"]),
            **chosen,
        }
        for name, (_, chosen) in tuned.items()
    }
    peer_s = statistics.median(peer_proposals(pixels) for _, pixels in images) if peer_proposals else None
    fastest = min(theirs.values(), key=lambda of_side: of_side["without_proposals_s"])
    rows = {name: _row(seconds[name], fastest, theirs[name.split(", ")[1]], peer_s) for name in sides}
    peaks = measure_peaks(clock=clock)
    windows = fill_windows(dense.proposals.propose(image, image_id).boxes, image.shape[:2], num_windows)
    for name, row in rows.items():
        row["floors"] = floors(sides[name], image, windows, peaks)
    best = max(rows, key=lambda name: rows[name]["speedup"])
    return {
        **{key: rows[best].get(key) for key in ("speedup", "speedup_with_proposals", "speedup_with_peer_proposals")},
        "best": best,
        "rows": rows,
        "rcnn": {**fastest, "tried": tried},
        "rcnn_by_precision": theirs,
        "peer_proposals_s": peer_s,
        "peaks": peaks,
        "windows": num_windows,
        "images": len(images),
        "rcnn_images": min(limits.values()),
        "threads": torch.get_num_threads(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", "unknown"),
    }


def _row(ours: Seconds, theirs: dict[str, Any], same_precision: dict[str, Any], peer_s: float | None) -> dict[str, Any]:
    rest = without_proposals(ours)
    row = {
        **ours,
        "without_proposals_s": rest,
        "speedup": theirs["without_proposals_s"] / rest,
        "speedup_same_precision": same_precision["without_proposals_s"] / rest,
        "speedup_with_proposals": theirs["total_s"] / ours["total_s"],
    }
    if peer_s is not None:
        row["speedup_with_peer_proposals"] = (theirs["without_proposals_s"] + peer_s) / ours["total_s"]
    return row


def in_precision(detector: Detector, dtype: torch.dtype) -> Detector:
    """The same detector over copies of its networks in a precision."""
    changed = copy.copy(detector)
    regions = copy.copy(detector.regions)
    assert isinstance(regions, SPPRegions | RCNNRegions)
    regions.trunk = copy.deepcopy(regions.trunk).to(dtype)
    regions.head = copy.deepcopy(regions.head).to(dtype)
    changed.regions = regions
    return changed


def tune_rcnn(
    rcnn: Detector, image: Image, boxes: Boxes, clock: Clock = time.perf_counter
) -> tuple[dict[str, tuple[Detector, dict[str, Any]]], dict[str, float]]:
    """R-CNN in the memory format and batch that take the least time for some windows of an image, in each precision.

    Returns {precision: (detector, {"precision", "memory_format", "batch_size"})}, and the seconds of every setting.
    """
    tried: dict[str, float] = {}
    tuned: dict[str, tuple[Detector, dict[str, Any]]] = {}
    for name, dtype in DTYPES.items():
        detector = in_precision(rcnn, dtype)
        regions = detector.regions
        assert isinstance(regions, RCNNRegions)
        settings = [(title, batch) for title in FORMATS for batch in BATCHES]
        for title, batch in settings:
            _set_rcnn(regions, title, batch)
            tried[f"{name}, {title}, {batch}"] = min(_seconds(regions, image, boxes, clock) for _ in range(2))
        title, batch = min(settings, key=lambda each: tried[f"{name}, {each[0]}, {each[1]}"])
        _set_rcnn(regions, title, batch)
        tuned[name] = detector, {"precision": name, "memory_format": title, "batch_size": batch}
    return tuned, tried


def _set_rcnn(regions: RCNNRegions, memory_format: str, batch: int) -> None:
    regions.trunk.to(memory_format=FORMATS[memory_format])
    regions.trunk.memory_format = FORMATS[memory_format]
    regions.batch_size = batch


def _seconds(regions: RCNNRegions, image: Image, boxes: Boxes, clock: Clock) -> float:
    start = clock()
    regions.pooled(image, boxes)
    return clock() - start


def with_maps(result: dict[str, Any], run: Path, compressed: Path) -> dict[str, Any]:
    """The result with the mAP that test_net.py found for the two runs, in their metrics.json, as "map" of the rows."""
    for kind, folder in (("dense", run), ("compressed", compressed)):
        if (folder / "metrics.json").is_file():
            metrics = read_json(folder / "metrics.json")
            result["rows"][f"{kind}, float32"]["map"] = metrics["voc07"]["map"]
    return result


def comparison_table(result: dict[str, Any]) -> Table:
    """The result of `compare` as a table to print: a column for each side."""
    title = f"seconds an image, median of {result['images']}; {result['windows']} windows, {result['threads']} threads"
    if result["rcnn_images"] < result["images"]:
        title += f"; R-CNN: of {result['rcnn_images']}"
    table = Table(title=title)
    table.add_column("stage")
    sides = {**result["rows"], **{f"R-CNN, {name}": of_side for name, of_side in result["rcnn_by_precision"].items()}}
    for name in sides:
        table.add_column(name.replace(", ", "\n"), justify="right")
    lines = {**TITLES, "without_proposals_s": "without proposals"}
    for key in [key for key in lines if key not in ("proposals_s", "total_s")] + ["proposals_s", "total_s"]:
        table.add_row(lines[key], *(f"{side[key]:.4f}" if key in side else "" for side in sides.values()))
    table.add_section()
    for key, heading in SPEEDUPS.items():
        if any(key in side for side in sides.values()):
            table.add_row(heading, *(f"{side[key]:.1f}x" if key in side else "" for side in sides.values()))
    if any("map" in side for side in sides.values()):
        table.add_row("mAP", *(f"{100 * side['map']:.1f}" if "map" in side else "" for side in sides.values()))
    return table
