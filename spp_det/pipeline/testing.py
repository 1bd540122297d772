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

from spp_det.config import Config, load_config
from spp_det.detection import Candidates, Detector, finish
from spp_det.detection.bundle import load_detector
from spp_det.errors import ConfigError
from spp_det.evaluation import evaluate, proposal_recall, time_detectors, timing_table
from spp_det.files import read_arrays, read_json, write_arrays, write_json
from spp_det.networks import compute_dtype
from spp_det.parallel import available_cores
from spp_det.parts import make_dataset
from spp_det.pipeline.precompute import SUFFIX, make_proposals_stage, proposals_stage, read_proposals
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.structures import Detections, Proposals
from spp_det.tooling import console, progress, track

DETECT_VERSION = 1
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
) -> dict[str, Any]:
    """Print the tables of a run and write its metrics.json; returns what is in it, fractions and seconds.

    split, data: other images than the configuration's; overrides: changed settings, as `--set` takes them.
    timing_images: on how many images to time SPP-net beside R-CNN, with `timing_windows` windows each; 0: no timing.
    """
    replaced = {"data__root": data} if data else {}
    tested = look_at_split(run, split, data, overrides, store, skip_bad)
    config, images = tested.config, tested.images
    metrics = _evaluate(tested)
    metrics["recall"] = proposal_recall(images.targets, tested.windows(), tested.detector.class_names)
    if timing_images:
        metrics["timing"] = _time(run, overrides, config.precision, replaced, images, timing_images, timing_windows)
    elif (run / "metrics.json").exists():
        metrics |= {key: value for key, value in read_json(run / "metrics.json").items() if key == "timing"}
    metrics["images"], metrics["split"] = len(images.ids), split or config.data.test
    metrics["overrides"], metrics["skipped"], metrics["detections"] = list(overrides), images.skipped, tested.key
    write_json(run / "metrics.json", _without_nan(metrics))
    _print(config, metrics, images)
    return metrics


@dataclass(frozen=True)
class Tested:
    """A split that a run's detector has looked at. found: by image id; key: of the detections in the store."""

    config: Config
    detector: Detector
    images: Split
    proposals: StageFolder
    found: dict[str, Candidates]
    key: str

    def windows(self) -> dict[str, Proposals]:
        """The proposals of each image."""
        return {image_id: read_proposals(self.proposals, image_id) for image_id in self.images.ids}

    def detections(self, regressed: bool = True) -> dict[str, Detections]:
        """The detections of each image, with box regression or without."""
        names, settings = self.detector.class_names, self.config.detect
        return {
            image_id: finish(each, each.regressed if regressed else None, self.images.sizes[image_id], names, settings)
            for image_id, each in self.found.items()
        }


def look_at_split(
    run: Path,
    split: str | None = None,
    data: str | None = None,
    overrides: Sequence[str] = (),
    store: Path | None = None,
    skip_bad: bool = False,
) -> Tested:
    """Detect in every image of a split, by default the configuration's for testing, or take what the store has of it.

    Raises ConfigError where the split is of other classes than the run, and what reading the images raises.
    """
    torch.set_num_threads(available_cores())
    replaced = {"data__root": data} if data else {}
    config = load_config(run / "config.toml", overrides, **replaced)
    detector = load_detector(run, overrides, config.precision, **replaced)
    folder = Store(store or read_json(run / "run.json")["store"])
    images = open_split(folder, make_dataset(config, split or config.data.test), skip_bad)
    if tuple(images.dataset.class_names) != detector.class_names:
        raise ConfigError(f"{run}: was trained for other classes than those of {config.data.root}")
    proposals = proposals_stage(folder, config, images)
    if not proposals.done:
        make_proposals_stage(proposals, config, images)
    stage = detect_stage(folder, run, config, images, proposals)
    return Tested(config, detector, images, proposals, _detect(stage, detector, images, proposals), stage.key)


def detect_stage(store: Store, run: Path, config: Config, images: Split, proposals: StageFolder) -> StageFolder:
    """The folder of the detections of a split by the detector of a run."""
    settings = {
        name: msgspec.to_builtins(getattr(config, name)) for name in ("maps", "regions", "svm", "regress", "detect")
    }
    settings["precision"] = str(compute_dtype(config.precision))
    inputs = {"proposals": proposals.key, "images": images.images_key, "detector": _digest(run)}
    return store.stage("detect", DETECT_VERSION, settings, inputs)


def _detect(stage: StageFolder, detector: Detector, images: Split, proposals: StageFolder) -> dict[str, Candidates]:
    """The candidates of every image, from the store where they are there already."""
    if not stage.done:
        missing = stage.missing(list(images.ids), SUFFIX)
        for image_id in track(missing, "detecting", done=len(images.ids) - len(missing)):
            candidates = detector.candidates(images.dataset.image(image_id), read_proposals(proposals, image_id))
            write_arrays(stage.path(image_id + SUFFIX), candidates.arrays())
        stage.finish()
    return {image_id: Candidates(**read_arrays(stage.path(image_id + SUFFIX))) for image_id in images.ids}


def _digest(run: Path) -> str:
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
                tested.detector.class_names,
                settings.min_overlap,
                method,  # type: ignore[arg-type]
                settings.overlap_test,
            )
    return metrics


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
