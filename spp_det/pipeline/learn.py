"""The stages that learn: the fully connected layers, the SVMs, the box regressors. Each goes on from what it left."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import torch

from spp_det.config import Config
from spp_det.detection.bundle import head_arrays, load_head, load_trunk
from spp_det.files import read_arrays, write_arrays, write_json
from spp_det.networks import FcHead, Trunk, compute_dtype
from spp_det.parts import make_svm_settings, named_settings, regressor_params
from spp_det.pipeline.store import StageFolder, Store
from spp_det.pipeline.windows import TrainingWindows
from spp_det.regions import RCNNRegions
from spp_det.tooling import progress
from spp_det.training import (
    BoxRegressor,
    FinetuneSettings,
    LinearSVMs,
    SamplingSettings,
    Standardised,
    finetune,
    finetune_whole,
    standardise,
    train_svms,
)

VERSIONS = {"finetune": 1, "svm": 2, "regress": 2, "vectors": 2}
TRUNK_FILE = "trunk.safetensors"


@dataclass(frozen=True)
class Basis:
    """What all learning stages stand on: the settings that shape every vector, and the keys of the inputs."""

    settings: dict[str, Any]
    inputs: dict[str, str]

    def stage(self, store: Store, name: str, config: Any, **inputs: str) -> StageFolder:
        """The folder of a learning stage."""
        settings = {**self.settings, name: json.loads(msgspec.json.encode(config))}
        return store.stage(name, VERSIONS[name], settings, {**self.inputs, **inputs})


def tune_head(stage: StageFolder, head: FcHead, source: TrainingWindows, config: Config) -> None:
    """Fine-tune fc6, fc7 and the softmax layer; without iterations they stay as they start."""
    tune = config.finetune
    checkpoint = stage.path("checkpoint.safetensors")
    log: list[dict[str, float]] = []
    if tune.iterations:
        learner = standardise(head, source, config.seed) if tune.standardise else head
        with progress("fine-tuning") as show:
            log = finetune(learner, source, finetune_settings(config), checkpoint, show)
        if isinstance(learner, Standardised):
            learner.fold()
    write_arrays(stage.path("head.safetensors"), head_arrays(head))
    write_json(stage.path("log.json"), log)
    checkpoint.unlink(missing_ok=True)
    stage.finish()


def tune_whole(stage: StageFolder, regions: RCNNRegions, source: TrainingWindows, config: Config) -> None:
    """Fine-tune the trunk too, on warped crops."""
    checkpoint = stage.path("checkpoint.safetensors")
    settings = replace(finetune_settings(config), checkpoint_every=1)  # a chunk takes a minute here
    with progress("fine-tuning all") as show:
        log = finetune_whole(regions, source, config.finetune.first_conv, settings, checkpoint, show)
    arrays = {name: tensor.numpy() for name, tensor in regions.trunk.state().items()}
    write_arrays(stage.path(TRUNK_FILE), arrays)
    write_arrays(stage.path("head.safetensors"), head_arrays(regions.head))
    write_json(stage.path("log.json"), log)
    checkpoint.unlink(missing_ok=True)
    stage.finish()


def tuned_trunk(stage: StageFolder, trunk: Trunk) -> None:
    """Put what `tune_whole` learnt into a trunk."""
    load_trunk(trunk, stage.path(TRUNK_FILE))


def finetune_settings(config: Config) -> FinetuneSettings:
    """The room's own settings, from the configuration's of the same names."""
    table = msgspec.structs.asdict(config.finetune)
    return FinetuneSettings(
        seed=config.seed,
        bfloat16=compute_dtype(config.precision) == torch.bfloat16,
        sampling=SamplingSettings(**named_settings(table, SamplingSettings)),
        **named_settings(table, FinetuneSettings),
    )


def tuned_head(stage: StageFolder, head: FcHead) -> None:
    """Put what `tune_head` learnt into a head."""
    load_head(head, stage.path("head.safetensors"))
    head.eval()


def fit_svms(stage: StageFolder, source: TrainingWindows, config: Config) -> None:
    """Train the SVMs with hard negatives; the log of the mining stays beside them."""
    svm = config.svm
    settings = make_svm_settings(config)
    checkpoint = stage.path("checkpoint.safetensors")
    with progress(f"SVMs on {svm.layer}") as show:
        svms, log = train_svms(source, svm.layer, settings, checkpoint, show)
    write_arrays(stage.path("svms.safetensors"), svms.state())
    write_json(stage.path("log.json"), log)
    checkpoint.unlink(missing_ok=True)
    stage.finish()


def load_svms(stage: StageFolder) -> LinearSVMs:
    """What `fit_svms` learnt."""
    return LinearSVMs.from_state(read_arrays(stage.path("svms.safetensors")))


def fit_regressor(stage: StageFolder, source: TrainingWindows, config: Config) -> None:
    """Learn to regress boxes, class after class, each kept as it comes."""
    regressor = BoxRegressor(**regressor_params(config))
    known = {int(label): stage.read(label)["weights"] for label in stage.names()}

    def keep(label: int, weights: np.ndarray) -> None:
        stage.write(str(label), {"weights": weights})

    with progress("box regression") as show:
        regressor.fit(source, known, keep, show)
    write_arrays(stage.path("regressor.safetensors"), regressor.state())
    stage.packs.remove()
    stage.finish()


def load_regressor(stage: StageFolder) -> BoxRegressor:
    """What `fit_regressor` learnt."""
    return BoxRegressor.from_state(read_arrays(stage.path("regressor.safetensors")))
