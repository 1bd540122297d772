"""The stage that detects: what one run's detector, or several together, find in every image of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from spp_det.config import Config
from spp_det.datasets import open_dataset
from spp_det.detection import Candidates
from spp_det.detection.bundle import load_detector
from spp_det.detection.detector import Detector
from spp_det.detection.ensemble import candidates_of_each
from spp_det.detection.window_detector import WindowDetector
from spp_det.errors import ConfigError
from spp_det.networks import compute_dtype
from spp_det.parallel import available_cores
from spp_det.pipeline.plan import detect_stage, proposals_stage, run_digest
from spp_det.pipeline.precompute import make_proposals_stage, read_proposals
from spp_det.pipeline.sharing import Made, common_dtype, fill_stages, make_together
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.processes import ALONE, Processes
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Image, Proposals
from spp_det.tooling import notes
from spp_det.trust import load_run_config


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
class RunSubject(Subject):
    """One run's detector."""

    detector: Detector


def subject_of(
    run: Path, data: str | None = None, overrides: Sequence[str] = (), here: Processes = ALONE
) -> RunSubject:
    """The detector of a run as what is tested."""
    replaced = {"data__root": data} if data else {}
    config = load_run_config(run, overrides, **replaced)
    detector = load_tested(run, overrides, config, here, **replaced)
    return RunSubject(str(run), run, config, detector, run_digest(run))


def load_tested(run: Path, overrides: Sequence[str], config: Config, here: Processes, **replaced: Any) -> Detector:
    """A run's detector where this process computes; what it finds is the same for any number of processes.

    config: of the test; the rest as for `load_detector`.
    """
    precision = str(common_dtype(config, here)).removeprefix("torch.")
    with here.first_ahead():
        detector = load_detector(run, overrides, precision, device=str(here.device), **replaced)
    assert isinstance(detector.regions, SPPRegions | RCNNRegions)
    detector.regions.head.repeatable = True
    return detector


def open_tested(
    subject: Subject, store: Store, split: str, skip_bad: bool = False, here: Processes = ALONE
) -> tuple[Split, StageFolder, StageFolder]:
    """(The images of a split, their proposals, the folder of the subject's detections, made or not); see `look_at`."""
    config = subject.config
    with here.first_ahead():
        dataset = open_dataset(config.data, split)
    images = open_split(store, dataset, skip_bad, here)
    if tuple(images.dataset.class_names) != subject.detector.class_names:
        raise ConfigError(f"{subject.name}: was trained for other classes than those of {config.data.root}")
    proposals = proposals_stage(store, config, images)
    stage = detect_stage(store, config, subject.digest, str(compute_dtype(config.precision)), images, proposals)
    used = [("check", images.check), *((each.stage, each.key) for each in (proposals, stage))]
    if here.first:
        store.note_use(subject.folder, stage.key, used)
    make_together(proposals, lambda: make_proposals_stage(proposals, config, images, here), _say_waiting, here)
    return images, proposals, stage


def detect_in(
    stages: Sequence[StageFolder],
    images: Split,
    proposals: StageFolder,
    find: Callable[[Image, Proposals], Sequence[Candidates]],
    here: Processes = ALONE,
) -> None:
    """Put what is found in every image into the stages, one for each that `find` gives, unless it is there already.

    Raises what `StageFolder.make` raises.
    """
    place = {stage.key: number for number, stage in enumerate(stages)}

    def look(held: Sequence[StageFolder]) -> None:
        def make(ids: Iterator[str]) -> Iterator[Made]:
            for image_id in ids:
                found = find(images.dataset.image(image_id), read_proposals(proposals, image_id))
                yield image_id, [found[place[stage.key]].arrays() for stage in held]

        fill_stages(held, images.ids, make, "detecting", here)

    def hold(left: Sequence[StageFolder], held: Sequence[StageFolder]) -> None:
        if left:
            stage, others = left[0], left[1:]
            made = make_together(stage, lambda: hold(others, [*held, stage]), _say_waiting, here)
            if not made:  # it was done before, or by another run
                hold(others, held)
        elif held:
            look(held)

    hold([stages[place[key]] for key in sorted(place)], [])  # in one order, so that no two runs wait for each other


def _say_waiting(other: str) -> None:
    notes.print(f"waiting for {other}, which makes the same", markup=False)


def look_together(runs: Sequence[Path], store: Store, overrides: Sequence[str] = ()) -> None:
    """Let the detectors of runs look at their test split, an image at a time, where the store lacks what they find.

    Maps and pooled vectors that those with the same images and proposals have in common are computed once.
    overrides: changed settings of the test. Raises what `open_tested` and loading the runs raise.
    """
    torch.set_num_threads(available_cores())
    groups: dict[tuple[str, str], list[tuple[Detector, StageFolder]]] = {}
    places: dict[tuple[str, str], tuple[Split, StageFolder]] = {}
    for subject in (subject_of(run, overrides=overrides) for run in runs):
        images, proposals, stage = open_tested(subject, store, subject.config.data.test)
        if not stage.done:
            key = images.images_key, proposals.key
            places[key] = images, proposals
            group = groups.setdefault(key, [])
            if stage.key not in {other.key for _, other in group}:  # as of two runs with the same detector
                group.append((subject.detector, stage))
    for key, group in groups.items():
        detectors, stages = [detector for detector, _ in group], [stage for _, stage in group]
        detect_in(stages, *places[key], find=partial(candidates_of_each, detectors))
