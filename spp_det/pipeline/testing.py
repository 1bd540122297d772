"""Test a trained run: detections of every test image, average precision, recall of the proposals, and timing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from spp_det.config import Config
from spp_det.datasets import object_areas, write_results
from spp_det.detection import Candidates, finish
from spp_det.detection.bundle import load_detector
from spp_det.evaluation import coco_figures, coco_table, evaluate, proposal_recall, time_detectors, timing_table
from spp_det.files import read_json, write_json
from spp_det.parallel import available_cores
from spp_det.pipeline.detections import Subject, detect_in, open_tested, subject_of
from spp_det.pipeline.precompute import read_proposals
from spp_det.pipeline.split import Split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.processes import ALONE, Processes
from spp_det.structures import Detections, Proposals
from spp_det.tooling import console, progress

METHODS = {"11point": "voc07", "area": "voc10"}  # the metrics' names, by how AP is taken


def evaluate_run(
    run: Path,
    split: str | None = None,
    data: str | None = None,
    overrides: Sequence[str] = (),
    timing_images: int = 0,
    timing_windows: int = 2000,
    store: Path | None = None,
    skip_bad: bool = False,
    voc_results: Path | None = None,
    here: Processes = ALONE,
) -> dict[str, Any]:
    """Print the tables of a run and write its metrics.json; returns what is in it, fractions and seconds.

    split, data: other images than the configuration's; overrides: changed settings, as `--set` takes them.
    timing_images: on how many images to time SPP-net beside R-CNN, with `timing_windows` windows each; 0: no timing.
    voc_results: a folder for the detections as the devkit's result files; None for none.
    here: the processes that look at the images together; the first measures.
    """
    replaced = {"data__root": data} if data else {}
    tested = look_at_run(run, split, data, overrides, store, skip_bad, here)
    if not here.first:
        here.wait()
        return read_json(run / "metrics.json")
    metrics = measure(tested, voc_results)
    if timing_images:
        images, precision = tested.images, tested.config.precision
        metrics["timing"] = _time(run, overrides, precision, replaced, images, timing_images, timing_windows)
    elif (run / "metrics.json").exists():
        metrics |= {key: value for key, value in read_json(run / "metrics.json").items() if key == "timing"}
    metrics["overrides"] = list(overrides)
    report(tested.config, metrics, tested.images, run)
    here.wait()
    return metrics


@dataclass(frozen=True)
class Tested:
    """A split that a detector has looked at.

    found: by image id; key: of the detections in the store; split: its name.
    """

    subject: Subject
    split: str
    images: Split
    proposals: StageFolder
    found: dict[str, Candidates]
    key: str

    @property
    def config(self) -> Config:
        """The configuration of the test."""
        return self.subject.config

    @property
    def class_names(self) -> tuple[str, ...]:
        """The detector's classes."""
        return self.subject.detector.class_names

    def windows(self) -> dict[str, Proposals]:
        """The proposals of each image."""
        return {image_id: read_proposals(self.proposals, image_id) for image_id in self.images.ids}

    def detections(self, regressed: bool = True) -> dict[str, Detections]:
        """What is left of each image's candidates, moved by the regressor or where they were."""
        settings, sizes = self.config.detect, self.images.sizes
        return {
            image_id: finish(each, each.regressed if regressed else None, sizes[image_id], self.class_names, settings)
            for image_id, each in self.found.items()
        }


def look_at_run(
    run: Path,
    split: str | None = None,
    data: str | None = None,
    overrides: Sequence[str] = (),
    store: Path | None = None,
    skip_bad: bool = False,
    here: Processes = ALONE,
) -> Tested:
    """Let the detector of a run look at a split; arguments as in `evaluate_run`."""
    torch.set_num_threads(available_cores())
    subject = subject_of(run, data, overrides, here)
    return look_at(subject, Store(store or read_json(run / "run.json")["store"]), split, skip_bad, here)


def look_at(
    subject: Subject, store: Store, split: str | None = None, skip_bad: bool = False, here: Processes = ALONE
) -> Tested:
    """Detect in every image of a split (None: the configuration's data.test), or take what the store has of it.

    here: the processes that do it together; the first alone gets what was found.
    Raises ConfigError where the split is of other classes than the detector, and what reading the images raises.
    """
    name = split or subject.config.data.test
    images, proposals, stage = open_tested(subject, store, name, skip_bad, here)
    detect_in([stage], images, proposals, lambda image, windows: [subject.detector.candidates(image, windows)], here)
    found = {image_id: Candidates(**stage.read(image_id)) for image_id in images.ids if here.first}
    return Tested(subject, name, images, proposals, found, stage.key)


def measure(tested: Tested, voc_results: Path | None = None) -> dict[str, Any]:
    """What is measured on a split but for times.

    voc_results: a folder for the detections as the devkit's result files.
    """
    config, images = tested.config, tested.images
    metrics = _evaluate(tested)
    if config.data.format == "coco" or config.evaluate.coco:
        metrics["coco"] = _coco(tested)
    metrics["recall"] = proposal_recall(images.targets, tested.windows(), tested.class_names)
    metrics["images"], metrics["split"] = len(images.ids), tested.split
    metrics["skipped"], metrics["detections"] = images.skipped, tested.key
    if voc_results:
        paths = write_results(voc_results, tested.split, tested.class_names, tested.detections(config.regress.enabled))
        console.print(f"{len(paths)} result files of the VOC devkit: {voc_results}", soft_wrap=True, markup=False)
    return metrics


def report(config: Config, metrics: Mapping[str, Any], images: Split, out: Path) -> None:
    """Write metrics.json into a folder, and print it as tables."""
    write_json(out / "metrics.json", _without_nan(metrics))
    _print(config, metrics, images)


def _evaluate(tested: Tested) -> dict[str, Any]:
    """Average precision with box regression and, where there is one, without."""
    metrics: dict[str, Any] = {}
    settings = tested.config.evaluate
    variants = {"": True, "_without_regression": False} if tested.config.regress.enabled else {"": False}
    for ending, regressed in variants.items():
        kept = tested.detections(regressed)
        for method, name in METHODS.items():
            metrics[name + ending] = evaluate(
                tested.images.targets,
                kept,
                tested.class_names,
                settings.min_overlap,
                method,  # type: ignore[arg-type]
                settings.overlap_test,
            )
    return metrics


def _coco(tested: Tested) -> dict[str, float]:
    """COCO's figures, the areas being those that the data set states."""
    images = tested.images
    kept = tested.detections(tested.config.regress.enabled)
    stated = {image_id: object_areas(images.dataset, image_id) for image_id in images.ids}
    areas = {image_id: each for image_id, each in stated.items() if each is not None}
    return coco_figures(images.targets, kept, tested.class_names, areas if len(areas) == len(stated) else None)


def _time(
    run: Path,
    overrides: Sequence[str],
    precision: str,
    replaced: Mapping[str, Any],
    images: Split,
    count: int,
    windows: int,
) -> dict[str, Any]:
    """The run's detector beside itself with R-CNN's crops in place of the pooled windows."""
    spp, rcnn = (
        load_detector(run, [*overrides, f"regions.kind={kind}"], precision, **replaced) for kind in ("spp", "rcnn")
    )
    chosen = images.ids[:: max(1, len(images.ids) // count)][:count]
    with progress("timing") as show:
        return time_detectors([(i, images.dataset.image(i)) for i in chosen], spp, rcnn, windows, progress=show)


def _print(config: Config, metrics: Mapping[str, Any], images: Split) -> None:
    name = METHODS[config.evaluate.method]
    with_regression, without = metrics[name], metrics.get(f"{name}_without_regression")
    table = Table(title=f"average precision, {metrics['split']}, {metrics['images']} images", title_justify="left")
    for column in ["class", "objects", "AP", *(["without regression"] if without else [])]:
        table.add_column(column, justify="left" if column == "class" else "right")
    for label, class_name in enumerate(images.dataset.class_names):
        objects = sum(int(((t.labels == label) & ~t.difficult).sum()) for t in images.targets.values())
        row = [class_name, str(objects), _percent(with_regression["ap"][class_name])]
        table.add_row(*row, *([_percent(without["ap"][class_name])] if without else []))
    table.add_section()
    table.add_row("mean", "", _percent(with_regression["map"]), *([_percent(without["map"])] if without else []))
    console.print(table)
    if "coco" in metrics:
        console.print(coco_table(metrics["coco"]))
    recall = metrics["recall"]
    console.print(
        f"proposals: {recall['windows']:.0f} an image, recall {_percent(recall['recall_0.5'])} at IoU 0.5, "
        f"{_percent(recall['recall_0.7'])} at 0.7, mean average best overlap {_percent(recall['mabo'])}",
        soft_wrap=True,
    )
    if "timing" in metrics:
        console.print(timing_table(metrics["timing"]))
        speedup, whole = metrics["timing"]["speedup"], metrics["timing"]["speedup_with_proposals"]
        console.print(
            f"SPP-net is {speedup:.1f}x faster than R-CNN without proposals, {whole:.1f}x with them", soft_wrap=True
        )
    for fault in metrics["skipped"].values():
        console.print(f"left out: {fault}", soft_wrap=True, markup=False)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
