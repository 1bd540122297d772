"""Test a trained run: detections of every test image, average precision, recall of the proposals, and timing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.table import Table

from spp_det.config import Config
from spp_det.datasets import object_areas, write_results
from spp_det.detection import Candidates, finish
from spp_det.detection.bundle import load_detector
from spp_det.detection.detector import WindowDetector
from spp_det.errors import ConfigError
from spp_det.evaluation import coco_figures, coco_table, evaluate, proposal_recall, time_detectors, timing_table
from spp_det.files import read_json, write_json
from spp_det.networks import compute_dtype
from spp_det.parallel import available_cores
from spp_det.parts import make_dataset
from spp_det.pipeline.precompute import make_proposals_stage, proposals_stage, read_proposals
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.structures import Detections, Proposals
from spp_det.tooling import console, notes, progress, track
from spp_det.trust import load_run_config

DETECT_VERSION = 2
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
) -> dict[str, Any]:
    """Print the tables of a run and write its metrics.json; returns what is in it, fractions and seconds.

    split, data: other images than the configuration's; overrides: changed settings, as `--set` takes them.
    timing_images: on how many images to time SPP-net beside R-CNN, with `timing_windows` windows each; 0: no timing.
    voc_results: a folder for the detections as the devkit's result files; None for none.
    """
    replaced = {"data__root": data} if data else {}
    tested = look_at_run(run, split, data, overrides, store, skip_bad)
    metrics = measure(tested, voc_results)
    if timing_images:
        images, precision = tested.images, tested.config.precision
        metrics["timing"] = _time(run, overrides, precision, replaced, images, timing_images, timing_windows)
    elif (run / "metrics.json").exists():
        metrics |= {key: value for key, value in read_json(run / "metrics.json").items() if key == "timing"}
    metrics["overrides"] = list(overrides)
    report(tested.config, metrics, tested.images, run)
    return metrics


@dataclass(frozen=True)
class Subject:
    """What is tested: a detector, its name in messages, the configuration of the test, and a digest of its weights.

    folder: of the run.
    """

    name: str
    folder: Path
    config: Config
    detector: WindowDetector
    digest: str


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
) -> Tested:
    """Let the detector of a run look at a split; arguments as in `evaluate_run`."""
    torch.set_num_threads(available_cores())
    replaced = {"data__root": data} if data else {}
    config = load_run_config(run, overrides, **replaced)
    detector = load_detector(run, overrides, config.precision, **replaced)
    subject = Subject(str(run), run, config, detector, run_digest(run))
    return look_at(subject, Store(store or read_json(run / "run.json")["store"]), split, skip_bad)


def look_at(subject: Subject, store: Store, split: str | None = None, skip_bad: bool = False) -> Tested:
    """Detect in every image of a split (None: the configuration's data.test), or take what the store has of it.

    Raises ConfigError where the split is of other classes than the detector, and what reading the images raises.
    """
    config = subject.config
    name = split or config.data.test
    images = open_split(store, make_dataset(config, name), skip_bad)
    if tuple(images.dataset.class_names) != subject.detector.class_names:
        raise ConfigError(f"{subject.name}: was trained for other classes than those of {config.data.root}")
    proposals = proposals_stage(store, config, images)
    stage = detect_stage(store, config, subject.digest, images, proposals)
    used = [("check", images.check), *((each.stage, each.key) for each in (proposals, stage))]
    store.note_use(subject.folder, stage.key, used)
    proposals.make(lambda: make_proposals_stage(proposals, config, images), _say_waiting)
    found = _detect(stage, subject.detector, images, proposals)
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


def detect_stage(store: Store, config: Config, digest: str, images: Split, proposals: StageFolder) -> StageFolder:
    """The folder of the detections of a split by a detector of a digest."""
    tables = ("regions", "svm", "regress", "detect")
    settings: dict[str, Any] = {name: msgspec.to_builtins(getattr(config, name)) for name in tables}
    settings |= {"maps": config.maps.shaping(), "precision": str(compute_dtype(config.precision))}
    inputs = {"proposals": proposals.key, "images": images.images_key, "detector": digest}
    return store.stage("detect", DETECT_VERSION, settings, inputs)


def _detect(
    stage: StageFolder, detector: WindowDetector, images: Split, proposals: StageFolder
) -> dict[str, Candidates]:
    """The candidates of every image, from the store where they are there already."""

    def look() -> None:
        missing = stage.missing(images.ids)
        for image_id in track(missing, "detecting", done=len(images.ids) - len(missing)):
            candidates = detector.candidates(images.dataset.image(image_id), read_proposals(proposals, image_id))
            stage.write(image_id, candidates.arrays())
        stage.finish(images.ids)

    stage.make(look, _say_waiting)
    return {image_id: Candidates(**stage.read(image_id)) for image_id in images.ids}


def _say_waiting(other: str) -> None:
    notes.print(f"waiting for {other}, which makes the same", markup=False)


def run_digest(run: Path) -> str:
    """A hash of a run's detector."""
    sha = hashlib.sha256()
    for name in ("detector.json", "head.safetensors", "svms.safetensors", "regressor.safetensors"):
        if (run / name).exists():
            sha.update((run / name).read_bytes())
    return sha.hexdigest()


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
