"""Train an experiment: run the stages that are missing, and leave a detector in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from spp_det.config import Config, config_to_dict, load_config
from spp_det.datasets import Dataset, open_dataset
from spp_det.detection.bundle import save_detector
from spp_det.errors import ConfigError
from spp_det.files import write_json
from spp_det.locks import locked
from spp_det.networks import FcHead, Trunk
from spp_det.parallel import available_cores
from spp_det.parts import make_head, make_regions, make_trunk
from spp_det.pipeline.learn import (
    fit_regressor,
    fit_svms,
    load_regressor,
    load_svms,
    tune_head,
    tune_whole,
    tuned_head,
    tuned_trunk,
)
from spp_det.pipeline.plan import (
    MAPS_TITLES,
    TRAINING,
    NetworkFacts,
    crops_title,
    frozen_crops,
    plan_stages,
    sides,
)
from spp_det.pipeline.precompute import make_maps_stage, make_proposals_stage
from spp_det.pipeline.sharing import common_dtype, make_together
from spp_det.pipeline.space import check_space
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.pipeline.vectors import make_vectors_stage
from spp_det.pipeline.windows import TrainingWindows
from spp_det.processes import ALONE, Processes
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.tooling import format_seconds

RUN_LOCK = "run.lock"


def say(text: str) -> None:
    """Print a line at once, so that a pipe shows it too."""
    print(text, flush=True)


def train(
    config: Config,
    out: Path,
    store: Path | None = None,
    skip_bad: bool = False,
    dataset: Dataset | None = None,
    here: Processes = ALONE,
) -> None:
    """All stages of an experiment, each one run only where it is not done yet; then the detector into `out`.

    store: where stages are kept, by default `store/` beside `out`, so that runs share what they have in common.
    skip_bad: leave out images that are broken, and list them at the end, rather than stop at the first.
    dataset: the images to train on, in place of the configuration's; see datasets/memory.py.
    here: the processes that do it together, on one store and into one `out`.
    Raises DataError where another run trains into `out`; several processes wait for it, since it may be what is left of
    them on a machine that went away. One that makes the same stage for another run is waited for.
    """
    if config.ensemble is not None:
        raise ConfigError("[ensemble] joins runs that are trained already: train each of them, then test them together")
    torch.set_num_threads(available_cores())

    def waiting(other: str) -> None:
        say(f"waits for {other}, which works in {out}")

    with locked(out / RUN_LOCK, waiting if here.many else None) if here.first else nullcontext():
        _train(config, out, store, skip_bad, dataset, here)


def _train(
    config: Config, out: Path, store: Path | None, skip_bad: bool, dataset: Dataset | None, here: Processes
) -> None:
    _announce_changes(config, out)
    run = Run(config, Store(store or out.parent / "store"), skip_bad, dataset, here)
    say(f"{len(run.split.ids)} images, {len(run.class_names)} classes, trunk {config.trunk.name}{here.many}")
    without = run.split.classes_without_objects(config.data.use_difficult)
    if without:
        say(f"without an object, and so not learnt: {', '.join(without)}")
    if here.first:
        write_json(out / TRAINING, run.started_with())
        run.store.note_use(out, "train", [("check", run.split.check), *((s.stage, s.key) for s in run.plan.values())])
        check_space(run.store, run.plan, run.split, run.regions, config.proposals.max_windows, say)
    run.prepare()
    run.learn()
    if here.first:
        run.save(out)
    here.wait()
    for image_id, fault in run.split.skipped.items():
        say(f"left out {image_id}: {fault}")


class Run:
    """One training, stage after stage. `plan` names them all before one is run."""

    def __init__(
        self,
        config: Config,
        store: Store,
        skip_bad: bool,
        dataset: Dataset | None = None,
        here: Processes = ALONE,
    ) -> None:
        self.config, self.store, self.here = config, store, here
        with here.first_ahead():
            images = open_dataset(config.data, config.data.train) if dataset is None else dataset
        self.split: Split = open_split(store, images, skip_bad, here)
        self.class_names = self.split.dataset.class_names
        with here.first_ahead():
            self.trunk: Trunk = make_trunk(config)
        self.trunk.digest()  # of the weights in float32
        self.head: FcHead = make_head(config, self.trunk, len(self.class_names)).to(here.device)
        self.head.repeatable = True
        self.trunk.to(here.device)
        self.dtype = common_dtype(config, here)
        self.regions = make_regions(config, self.trunk, self.head)
        self.networks = NetworkFacts(self.trunk.digest(), str(self.dtype), isinstance(self.regions, RCNNRegions))
        self.frozen_crops = frozen_crops(config, self.networks)
        self.plan = plan_stages(store, config, self.split, self.networks)
        self.stages: dict[str, Any] = {}

    def started_with(self) -> dict[str, Any]:
        """What TRAINING holds."""
        networks = self.networks.remembered(self.config)
        return {
            "store": str(self.store.root.resolve()),
            "config": config_to_dict(self.config),
            "networks": networks,
        }

    def stage(self, title: str, work: Callable[[StageFolder], None]) -> StageFolder:
        """Run a stage of the plan unless it is done, and note its key and its seconds."""
        stage, begin = self.plan[title], time.monotonic()

        def waiting(other: str) -> None:
            say(f"  {title:<16} waits for {other}, which makes the same")

        made = make_together(stage, lambda: work(stage), waiting, self.here)
        seconds = time.monotonic() - begin
        say(f"  {title:<16} {format_seconds(seconds) if made else 'done before'} ({stage.key})")
        self.stages[title] = {"key": stage.key, "seconds": round(seconds, 2) if made else None}
        return stage

    def prepare(self) -> None:
        """Proposals and maps."""
        config, split, regions, here = self.config, self.split, self.regions, self.here
        proposals = self.stage("proposals", lambda s: make_proposals_stage(s, config, split, here))
        maps: dict[bool, StageFolder] = {}
        for flipped, title in MAPS_TITLES.items():
            if title in self.plan:
                assert isinstance(regions, SPPRegions)
                work = partial(make_maps_stage, regions=regions, split=split, flipped=flipped, here=here)
                maps[flipped] = self.stage(title, work)
        self.source = TrainingWindows(split, proposals, maps, regions, config.data.use_difficult)

    def learn(self) -> None:
        """Fine-tuning, SVMs, box regression."""
        config, source, regions, here = self.config, self.source, self.regions, self.here
        trunk = deepcopy(self.trunk)  # what is saved stays float32
        if self.frozen_crops:
            self.trunk.to(self.dtype)
            for flipped in sides(config):
                self.keep_vectors("pool5", flipped)
        if isinstance(regions, RCNNRegions) and not self.frozen_crops:
            tuned = self.stage("fine-tuning", lambda s: tune_whole(s, regions, source, config, here))
            tuned_trunk(tuned, self.trunk)
            trunk = deepcopy(self.trunk)
        else:
            tuned = self.stage("fine-tuning", lambda s: tune_head(s, self.head, source, config, here))
        tuned_head(tuned, self.head)
        self.tuned = trunk, deepcopy(self.head)
        self.head.to(self.dtype)
        if isinstance(regions, RCNNRegions) and not self.frozen_crops:
            self.trunk.to(self.dtype)
            self.keep_vectors(config.svm.layer)
        self.svms = load_svms(self.stage("SVMs", lambda s: fit_svms(s, source, config, here)))
        self.regressor = None
        if config.regress.enabled:
            self.regressor = load_regressor(
                self.stage("box regression", lambda s: fit_regressor(s, source, config, here))
            )

    def keep_vectors(self, layer: str, flipped: bool = False) -> None:
        """The vectors of all windows into the store: crops are slow, and what learns reads them more than once."""
        work = partial(make_vectors_stage, source=self.source, layer=layer, flipped=flipped, here=self.here)
        self.source.stored[layer, flipped] = self.stage(crops_title(layer, flipped), work)

    def save(self, out: Path) -> None:
        """The detector into the run's folder, and beside it which stages it came from."""
        trunk, head = self.tuned
        tuned_whole = isinstance(self.regions, RCNNRegions) and not self.frozen_crops
        before = self.networks.trunk if tuned_whole else None
        save_detector(out, self.config, self.class_names, trunk, head, self.svms, self.regressor, tuned_from=before)
        write_json(out / "run.json", {"store": str(self.store.root.resolve()), "stages": self.stages})
        say(f"trained: {out}")


def _announce_changes(config: Config, out: Path) -> None:
    if not (out / "detector.json").exists():
        return
    old, new = config_to_dict(load_config(out / "config.toml")), config_to_dict(config)
    changes = [
        f"{table}.{key}"
        for table in new
        if isinstance(new[table], dict)
        for key in {**old.get(table, {}), **new[table]}
        if old.get(table, {}).get(key) != new[table].get(key)
    ]
    if changes:
        say(f"{out} was trained with other settings ({', '.join(changes)}): its detector is replaced at the end")
