"""Train an experiment: run the stages that are missing, and leave a detector in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from spp_det.config import Config, config_to_dict, load_config
from spp_det.detection.bundle import save_detector
from spp_det.files import write_json
from spp_det.networks import FcHead, Trunk, compute_dtype
from spp_det.parallel import available_cores
from spp_det.parts import make_dataset, make_head, make_regions, make_trunk
from spp_det.pipeline.learn import Basis, fit_regressor, fit_svms, load_regressor, load_svms, tune_head, tuned_head
from spp_det.pipeline.precompute import make_maps_stage, make_proposals_stage, maps_stage, proposals_stage
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.pipeline.windows import TrainingWindows
from spp_det.regions import SPPRegions
from spp_det.tooling import format_seconds

TRAINING = "training.json"  # what a training was started with, for those who ask before it has ended
MAPS_TITLES = {False: "maps", True: "maps, mirrored"}  # by whether the images are mirrored


def say(text: str) -> None:
    """Print a line at once, so that a pipe shows it too."""
    print(text, flush=True)


def train(config: Config, out: Path, store: Path | None = None, skip_bad: bool = False) -> None:
    """All stages of an experiment, each one run only where it is not done yet; then the detector into `out`.

    store: where stages are kept, by default `store/` beside `out`, so that runs share what they have in common.
    skip_bad: leave out images that are broken, and list them at the end, rather than stop at the first.
    """
    torch.set_num_threads(available_cores())
    _announce_changes(config, out)
    run = Run(config, Store(store or out.parent / "store"), skip_bad)
    say(f"{len(run.split.ids)} images, {len(run.class_names)} classes, trunk {config.trunk.name}")
    write_json(out / TRAINING, {"store": str(run.store.root.resolve()), "config": config_to_dict(config)})
    run.prepare()
    run.learn()
    run.save(out)
    for image_id, fault in run.split.skipped.items():
        say(f"left out {image_id}: {fault}")


class Run:
    """One training, stage after stage. `plan` names them all before one is run."""

    def __init__(self, config: Config, store: Store, skip_bad: bool) -> None:
        self.config, self.store = config, store
        self.split: Split = open_split(store, make_dataset(config, config.data.train), skip_bad)
        self.class_names = self.split.dataset.class_names
        self.trunk: Trunk = make_trunk(config)
        self.head: FcHead = make_head(config, self.trunk, len(self.class_names))
        self.dtype = compute_dtype(config.precision)
        self.regions = make_regions(config, self.trunk, self.head)
        self.plan = self._plan()
        self.stages: dict[str, Any] = {}

    def _plan(self) -> dict[str, StageFolder]:
        """The folder of every stage by its title, in the order that they run."""
        config, split, store = self.config, self.split, self.store
        plan = {"proposals": proposals_stage(store, config, split)}
        if isinstance(self.regions, SPPRegions):
            for flipped in [False, True] if config.finetune.flip and config.finetune.iterations else [False]:
                plan[MAPS_TITLES[flipped]] = maps_stage(store, config, split, self.trunk, flipped)
        settings = {
            "regions": msgspec.to_builtins(config.regions),
            "maps": msgspec.to_builtins(config.maps),
            "use_difficult": config.data.use_difficult,
            "seed": config.seed,
            "precision": str(self.dtype),
        }
        inputs = {"proposals": plan["proposals"].key, "targets": split.targets_key, "trunk": self.trunk.digest()}
        basis = Basis(settings, inputs)
        plan["fine-tuning"] = tuned = basis.stage(store, "finetune", config.finetune)
        plan["SVMs"] = basis.stage(store, "svm", config.svm, **_tuned(config.svm.layer, tuned))
        if config.regress.enabled:
            plan["box regression"] = basis.stage(
                store, "regress", config.regress, **_tuned(config.regress.layer, tuned)
            )
        return plan

    def stage(self, title: str, work: Callable[[StageFolder], None]) -> StageFolder:
        """Run a stage of the plan unless it is done, and note its key and its seconds."""
        stage = self.plan[title]
        if stage.done:
            say(f"  {title:<16} done before ({stage.key})")
            self.stages[title] = {"key": stage.key, "seconds": None}
            return stage
        begin = time.monotonic()
        stage.folder.mkdir(parents=True, exist_ok=True)
        work(stage)
        seconds = time.monotonic() - begin
        say(f"  {title:<16} {format_seconds(seconds)} ({stage.key})")
        self.stages[title] = {"key": stage.key, "seconds": round(seconds, 2)}
        return stage

    def prepare(self) -> None:
        """Proposals and maps."""
        config, split, regions = self.config, self.split, self.regions
        proposals = self.stage("proposals", lambda s: make_proposals_stage(s, config, split))
        maps: dict[bool, StageFolder] = {}
        for flipped, title in MAPS_TITLES.items():
            if title in self.plan:
                assert isinstance(regions, SPPRegions)
                work = partial(make_maps_stage, regions=regions, split=split, flipped=flipped)
                maps[flipped] = self.stage(title, work)
        self.source = TrainingWindows(split, proposals, maps, regions, config.data.use_difficult)

    def learn(self) -> None:
        """Fine-tuning, SVMs, box regression."""
        config, source = self.config, self.source
        tuned_head(self.stage("fine-tuning", lambda s: tune_head(s, self.head, source, config)), self.head)
        self.tuned = deepcopy(self.head)  # what is saved stays float32
        self.head.to(self.dtype)
        self.svms = load_svms(self.stage("SVMs", lambda s: fit_svms(s, source, config)))
        self.regressor = None
        if config.regress.enabled:
            self.regressor = load_regressor(self.stage("box regression", lambda s: fit_regressor(s, source, config)))

    def save(self, out: Path) -> None:
        """The detector into the run's folder, and beside it which stages it came from."""
        save_detector(out, self.config, self.class_names, self.trunk, self.tuned, self.svms, self.regressor)
        write_json(out / "run.json", {"store": str(self.store.root.resolve()), "stages": self.stages})
        say(f"trained: {out}")


def _tuned(layer: str, tuned: StageFolder) -> dict[str, str]:
    """Pooled vectors do not depend on the fully connected layers."""
    return {} if layer == "pool5" else {"finetune": tuned.key}


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
