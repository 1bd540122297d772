"""How long one more class takes, and whether it leaves the others alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from spp_det.datasets import Dataset
from spp_det.detection import Detector
from spp_det.detection.classes import add_class
from spp_det.evaluation.one_class import testing_ids
from spp_det.evaluation.voc import average_precision, evaluate_class, match
from spp_det.structures import Boxes, Detections, Target
from spp_det.training import BoxRegressor, LinearSVMs, SvmSettings
from spp_det.training.source import Vectors

Moment = tuple[float, float]  # seconds on the wall's clock and on the processor's


def time_adding(
    detector: Detector,
    name: str,
    images: Sequence[Path],
    boxes: Sequence[Boxes],
    settings: SvmSettings,
    background: Vectors | None = None,
) -> dict[str, Any]:
    """Add a class to a detector that lacks it, and say how long each stage took.

    images: files; boxes: float32 [n, 4] of each. Returns {"stages": {name: {"wall_s", "cpu_s"}}, "total", "images",
    "objects", "threads", "positives", "negatives", "others_unchanged": whether the weights of all other classes are the
    same bit by bit}. Reading the images, their proposals and maps count.
    """
    detector.detect(images[0])  # compiles kernels, fills caches
    before = _weights(detector)
    moments: dict[str, Moment] = {"begin": _now()}

    def note(stage: str, done: int, total: int) -> None:
        moments[stage] = _now()

    log = add_class(detector, name, images, boxes, settings, background, note)
    moments["regression"] = _now()
    stages = {after: _difference(moments[first], moments[after]) for first, after in pairwise(moments)}
    count = len(detector.class_names) - 1
    same = all(np.array_equal(old, new[:count]) for old, new in zip(before, _weights(detector), strict=True))
    return {
        "stages": stages,
        "total": _difference(moments["begin"], moments["regression"]),
        "images": len(images),
        "objects": sum(map(len, boxes)),
        "threads": torch.get_num_threads(),
        "positives": log[-1]["positives"],
        "negatives": log[-1]["negatives"],
        "others_unchanged": same,
    }


def class_precision(
    detector: Detector, dataset: Dataset, name: str, images: int, progress: Callable[[int, int], None]
) -> float:
    """The average precision of one class on so many images of a data set, half of them with an object of it.

    VOC2007's, in [0, 1]. Raises DataError where no image has one, ValueError where all that have are difficult.
    """
    label = dataset.class_names.index(name)
    chosen = testing_ids(dataset, name, images)
    verdicts, scores, objects = [], [], 0
    for done, image_id in enumerate(chosen, 1):
        found = detector.detect(dataset.image(image_id))
        target = dataset.target(image_id)
        ours, theirs = found.labels == detector.class_names.index(name), target.labels == label
        same = np.zeros(int(ours.sum()), np.int64)
        one = Detections(found.boxes[ours], found.scores[ours], same, (name,))
        asked = Target(target.boxes[theirs], np.zeros(int(theirs.sum()), np.int64), target.difficult[theirs])
        verdicts.append(match(asked, one))
        scores.append(one.scores)
        objects += int((~asked.difficult).sum())
        progress(done, len(chosen))
    if not objects:
        raise ValueError(f"no image has an object of the class {name!r}")
    curve = evaluate_class(np.concatenate(verdicts), np.concatenate(scores), objects)
    return average_precision(curve.recall, curve.precision)


def adding_table(result: dict[str, Any]) -> Table:
    """The result of `time_adding` as a table to print."""
    about = f"{result['images']} images, {result['objects']} objects, {result['threads']} threads"
    table = Table(title=f"one more class: {about}", title_justify="left")
    for heading in ("stage", "seconds", "of the processor"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    titles = {"windows": "windows, maps, vectors", "mining": "SVM with hard negatives", "regression": "box regressor"}
    for stage, seconds in result["stages"].items():
        table.add_row(titles[stage], f"{seconds['wall_s']:.2f}", f"{seconds['cpu_s']:.2f}")
    table.add_section()
    table.add_row("all", f"{result['total']['wall_s']:.2f}", f"{result['total']['cpu_s']:.2f}")
    return table


def _weights(detector: Detector) -> list[np.ndarray]:
    assert isinstance(detector.svms, LinearSVMs)
    weights = [detector.svms.coef_, detector.svms.intercept_]
    if isinstance(detector.regressor, BoxRegressor):
        weights.append(detector.regressor.weights_)
    return weights


def _now() -> Moment:
    return time.perf_counter(), time.process_time()


def _difference(first: Moment, after: Moment) -> dict[str, float]:
    return {"wall_s": after[0] - first[0], "cpu_s": after[1] - first[1]}
