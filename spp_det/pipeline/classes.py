"""Change the classes of a trained run: one more, one less, another name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spp_det.datasets import Dataset, open_dataset, recognise
from spp_det.detection import Detector
from spp_det.detection.classes import add_class
from spp_det.detection.memory import write_background
from spp_det.errors import DataError
from spp_det.files import read_json, write_json
from spp_det.parallel import available_cores
from spp_det.pipeline.plan import maps_stage, proposals_stage
from spp_det.pipeline.split import open_split
from spp_det.pipeline.store import Store
from spp_det.pipeline.windows import TrainingWindows
from spp_det.regions import SPPRegions
from spp_det.structures import Boxes
from spp_det.tooling import progress
from spp_det.training.source import Vectors
from spp_det.trust import load_run_config

BACKGROUND_IMAGES = 200
BACKGROUND_WINDOWS = 25  # random ones of each image, beside its objects


@dataclass(frozen=True)
class Examples:
    """Images of one class, and its objects in each: float32 [n, 4]."""

    images: list[Path]
    boxes: list[Boxes]

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return sum(map(len, self.boxes))


def add_to_run(
    run: Path, name: str, data: Path, split: str | None, images: int | None, out: Path | None
) -> dict[str, Any]:
    """Teach the detector of a run one more class from a data set's images of it, and write it.

    images: at most so many, evenly spread; out: another folder, None for the run's own. Returns what was done.
    Raises DataError where no image shows the class, and what `Detector.add_class` raises.
    """
    torch.set_num_threads(available_cores())
    detector = Detector.load(run)
    examples = find_examples(data_set(data, split, name), name, images)
    known = name in detector.class_names
    begin = time.perf_counter()
    if not known and detector.background() is None:
        keep_background(run, detector)
    log = add_with_progress(detector, name, examples)
    seconds = time.perf_counter() - begin
    detector.save(out or run)
    _copy_facts(run, out)
    last = log[-1]
    return {
        "run": str(out or run),
        "class": name,
        "new": not known,
        "images": len(examples.images),
        "objects": examples.objects,
        "positives": last["positives"],
        "negatives": last["negatives"] - last["evicted"],
        "seconds": round(seconds, 2),
    }


def add_with_progress(detector: Detector, name: str, examples: Examples) -> list[dict[str, Any]]:
    """`add_class` with a progress bar."""
    with progress("learning") as show:
        return add_class(detector, name, examples.images, examples.boxes, progress=lambda _, done, of: show(done, of))


def remove_from_run(run: Path, name: str, out: Path | None) -> None:
    """Remove a class from the detector of a run, and write it."""
    detector = Detector.load(run)
    detector.remove_class(name).save(out or run)
    _copy_facts(run, out)


def rename_in_run(run: Path, old: str, new: str, out: Path | None) -> None:
    """Rename a class of the detector of a run, and write it."""
    detector = Detector.load(run)
    detector.rename_class(old, new).save(out or run)
    _copy_facts(run, out)


def _copy_facts(run: Path, out: Path | None) -> None:
    """A run in a new folder knows the same store."""
    facts = run / "run.json"
    if out is not None and out.resolve() != run.resolve() and facts.exists():
        write_json(out / "run.json", {"store": read_json(facts)["store"], "classes_changed_from": str(run)})


def data_set(data: Path, split: str | None, name: str) -> Dataset:
    """The data set at a path, of whatever form, which knows a class; split None: the one to train on.

    Raises DataError where it is none, or knows no such class.
    """
    found = recognise(data)
    if name not in found.class_names:
        raise DataError(data, f"no image shows an object of the class {name!r}; it has {', '.join(found.class_names)}")
    return found.dataset(split or found.train.partition(":")[0])


def find_examples(dataset: Dataset, name: str, limit: int | None = None) -> Examples:
    """The images of a data set with an object of a class that is not difficult, at most `limit`, evenly spread.

    Raises DataError where there is none.
    """
    label = dataset.class_names.index(name)
    found: dict[str, Boxes] = {}
    for image_id in dataset.ids:
        target = dataset.target(image_id)
        boxes = target.boxes[(target.labels == label) & ~target.difficult]
        if len(boxes):
            found[image_id] = boxes
    if not found:
        raise DataError(dataset.image_path(dataset.ids[0]).parent, f"no image shows an object of the class {name!r}")
    chosen = list(found)
    if limit is not None and limit < len(chosen):
        chosen = [chosen[index] for index in np.linspace(0, len(chosen) - 1, limit).round().astype(int)]
    return Examples([dataset.image_path(image_id) for image_id in chosen], [found[image_id] for image_id in chosen])


def keep_background(run: Path, detector: Detector) -> bool:
    """Keep windows of the images that a run was trained on beside it, as negatives of classes to come.

    They come from the run's stored maps; returns whether those, and the images, are still there.
    """
    vectors = draw_background(run, detector)
    if vectors is not None:
        write_background(run, vectors)
    return vectors is not None


def draw_background(run: Path, detector: Detector, seed: int = 0) -> Vectors | None:
    """Vectors of objects and random windows of some training images at the SVMs' layer: float32 [N, D], or None."""
    regions = detector.regions
    if not (run / "run.json").exists() or not isinstance(regions, SPPRegions):
        return None
    config, store = load_run_config(run), Store(read_json(run / "run.json")["store"])
    try:
        split = open_split(store, open_dataset(config.data, config.data.train), skip_bad=True)
    except DataError:  # the images are elsewhere by now, which is nobody's fault
        return None
    proposals = proposals_stage(store, config, split)
    maps = maps_stage(store, config, split, regions.trunk.digest(), flipped=False)
    if not proposals.done or (config.maps.keep and not maps.done):
        return None
    stored = {False: maps} if config.maps.keep else {}
    source = TrainingWindows(split, proposals, stored, regions, config.data.use_difficult)
    rng = np.random.default_rng(seed)
    vectors = []
    with progress("background") as show:
        chosen = range(0, len(source), max(1, len(source) // BACKGROUND_IMAGES))
        for done, index in enumerate(chosen, 1):
            windows = source.windows(index)
            truths = np.flatnonzero(windows.is_truth)
            others = rng.permutation(np.flatnonzero(~windows.is_truth))[:BACKGROUND_WINDOWS]
            rows = np.concatenate([truths, np.sort(others)])
            if len(rows):
                vectors.append(source.features(index, windows.boxes[rows], detector.layer))
            show(done, len(chosen))
    return np.concatenate(vectors) if vectors else None
