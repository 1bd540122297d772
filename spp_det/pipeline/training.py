"""Train an experiment: run the stages that are missing, and leave a detector in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import torch

from spp_det.config import Config, config_to_dict, load_config
from spp_det.datasets import Dataset
from spp_det.detection.bundle import save_detector
from spp_det.errors import ConfigError
from spp_det.files import write_json
from spp_det.networks import FcHead, Trunk, compute_dtype
from spp_det.parallel import available_cores
from spp_det.parts import make_dataset, make_head, make_regions, make_trunk
from spp_det.pipeline.learn import (
    Basis,
    fit_regressor,
    fit_svms,
    load_regressor,
    load_svms,
    tune_head,
    tune_whole,
    tuned_head,
    tuned_trunk,
)
from spp_det.pipeline.precompute import make_maps_stage, make_proposals_stage, maps_stage, proposals_stage
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.pipeline.vectors import make_vectors_stage
from spp_det.pipeline.windows import TrainingWindows
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.tooling import format_seconds

Say = Callable[[str], None]


def say(text: str) -> None:
    """Print a line at once, so that a pipe shows it too."""
    print(text, flush=True)


def train(
    config: Config, out: Path, store: Path | None = None, skip_bad: bool = False, dataset: Dataset | None = None
) -> None:
    """All stages of an experiment, each one run only where it is not done yet; then the detector into `out`.

    store: where stages are kept, by default `store/` beside `out`, so that runs share what they have in common.
    skip_bad: leave out images that are broken, and list them at the end, rather than stop at the first.
    dataset: the images to train on, in place of the configuration's; see datasets/memory.py.
    """
    if config.ensemble is not None:
        raise ConfigError("[ensemble] joins runs that are trained already: train each of them, then test them together")
    torch.set_num_threads(available_cores())
    _announce_changes(config, out)
    run = Run(config, out, Store(store or out.parent / "store"), skip_bad, dataset)
    run.prepare()
    run.learn()
    run.save()
    for image_id, fault in run.split.skipped.items():
        say(f"left out {image_id}: {fault}")


class Run:
    """One training, stage after stage."""

    def __init__(self, config: Config, out: Path, store: Store, skip_bad: bool, dataset: Dataset | None = None) -> None:
        self.config, self.out, self.store = config, out, store
        images = make_dataset(config, config.data.train) if dataset is None else dataset
        self.split: Split = open_split(store, images, skip_bad)
        self.class_names = self.split.dataset.class_names
        self.trunk: Trunk = make_trunk(config)
        self.trunk_digest = self.trunk.digest()
        self.head: FcHead = make_head(config, self.trunk, len(self.class_names))
        self.dtype = compute_dtype(config.precision)
        self.regions = make_regions(config, self.trunk, self.head)
        self.stages: dict[str, Any] = {}
        say(f"{len(self.split.ids)} images, {len(self.class_names)} classes, trunk {config.trunk.name}")
        without = self.split.classes_without_objects(config.data.use_difficult)
        if without:
            say(f"without an object, and so not learnt: {', '.join(without)}")

    def stage(self, title: str, stage: StageFolder, work: Callable[[StageFolder], None]) -> StageFolder:
        """Run a stage unless it is done, and note its key and its seconds."""
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
        config, split, store = self.config, self.split, self.store
        proposals = self.stage(
            "proposals", proposals_stage(store, config, split), lambda s: make_proposals_stage(s, config, split)
        )
        maps: dict[bool, StageFolder] = {}
        if isinstance(self.regions, SPPRegions):
            regions = self.regions
            for flipped in [False, True] if config.finetune.flip and config.finetune.iterations else [False]:
                maps[flipped] = self.stage(
                    "maps, mirrored" if flipped else "maps",
                    maps_stage(store, config, split, self.trunk, flipped),
                    lambda s, flipped=flipped: make_maps_stage(s, regions, split, flipped),  # type: ignore[misc]
                )
        self.source = TrainingWindows(split, proposals, maps, self.regions, config.data.use_difficult)
        whole = isinstance(self.regions, RCNNRegions)
        settings = {
            "regions": msgspec.to_builtins(config.regions),
            "maps": {"levels": list(config.maps.levels)} if whole else msgspec.to_builtins(config.maps),
            "use_difficult": config.data.use_difficult,
            "seed": config.seed,
            "precision": str(self.dtype),
        }
        inputs = {"proposals": proposals.key, "targets": split.targets_key, "trunk": self.trunk_digest}
        self.basis = Basis(settings, inputs)

    def learn(self) -> None:
        """Fine-tuning, SVMs, box regression."""
        config, store, basis, source = self.config, self.store, self.basis, self.source
        tuned = self.tune()
        self.tuned = deepcopy(self.trunk), deepcopy(self.head)  # what is saved stays float32
        self.head.to(self.dtype)
        if isinstance(self.regions, RCNNRegions):
            self.trunk.to(self.dtype)
            self.keep_vectors(config.svm.layer, tuned)
        svm = self.stage(
            "SVMs",
            basis.stage(store, "svm", config.svm, **self._on(config.svm.layer, tuned)),
            lambda s: fit_svms(s, source, config),
        )
        self.svms = load_svms(svm)
        self.regressor = None
        if config.regress.enabled:
            regress = self.stage(
                "box regression",
                basis.stage(store, "regress", config.regress, **self._on(config.regress.layer, tuned)),
                lambda s: fit_regressor(s, source, config),
            )
            self.regressor = load_regressor(regress)

    def tune(self) -> StageFolder:
        """Fine-tuning, of the fully connected layers or, in R-CNN, of the trunk too."""
        config, regions, source = self.config, self.regions, self.source
        stage = self.basis.stage(self.store, "finetune", config.finetune)
        if isinstance(regions, RCNNRegions):
            self.stage("fine-tuning", stage, lambda s: tune_whole(s, regions, source, config))
            tuned_trunk(stage, self.trunk)
        else:
            self.stage("fine-tuning", stage, lambda s: tune_head(s, self.head, source, config))
        tuned_head(stage, self.head)
        return stage

    def keep_vectors(self, layer: str, tuned: StageFolder) -> None:
        """The vectors of all windows into the store: crops are slow, and the SVMs read them more than once."""
        stage = self.basis.stage(self.store, "vectors", {"layer": layer}, finetune=tuned.key)
        self.stage(f"{layer} of crops", stage, lambda s: make_vectors_stage(s, self.source, layer))
        self.source.stored[layer] = stage

    def _on(self, layer: str, tuned: StageFolder) -> dict[str, str]:
        """What a layer's vectors depend on: SPP-net's pooled ones on no layer that is tuned."""
        untouched = layer == "pool5" and isinstance(self.regions, SPPRegions)
        return {} if untouched else {"finetune": tuned.key}

    def save(self) -> None:
        """The detector into the run's folder, and beside it which stages it came from."""
        trunk, head = self.tuned
        before = self.trunk_digest if isinstance(self.regions, RCNNRegions) else None
        save_detector(
            self.out, self.config, self.class_names, trunk, head, self.svms, self.regressor, tuned_from=before
        )
        write_json(self.out / "run.json", {"store": str(self.store.root.resolve()), "stages": self.stages})
        say(f"trained: {self.out}")


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
