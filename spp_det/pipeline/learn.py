"""The stages that learn: the fully connected layers, the SVMs, the box regressors. Each goes on from what it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch

from spp_det.config import Config
from spp_det.detection.bundle import head_arrays, load_head, load_trunk
from spp_det.files import read_arrays, write_arrays, write_json
from spp_det.networks import FcHead, Trunk, compute_dtype
from spp_det.parts import make_svm_settings, named_settings, regressor_params
from spp_det.pipeline.store import StageFolder
from spp_det.pipeline.windows import TrainingWindows
from spp_det.processes import ALONE, Processes
from spp_det.regions import RCNNRegions
from spp_det.states import Arrays
from spp_det.team import Team, join_team
from spp_det.tooling import progress
from spp_det.training import (
    BoxRegressor,
    FinetuneSettings,
    LinearSVMs,
    Moments,
    SamplingSettings,
    Standardised,
    StandardisedSource,
    WithMirrored,
    finetune,
    finetune_whole,
    standardise,
    train_svms,
)
from spp_det.training.finetune import Log
from spp_det.training.source import Progress
from spp_det.training.train_svms import remove_checkpoints

TRUNK_FILE = "trunk.safetensors"


def tune_head(
    stage: StageFolder, head: FcHead, source: TrainingWindows, config: Config, here: Processes = ALONE
) -> None:
    """Fine-tune fc6, fc7 and the softmax layer; without iterations they stay as they start."""

    def learn(checkpoint: Path, show: Progress, team: Team) -> Log:
        learner = standardise(head, source, config.seed) if config.finetune.standardise else head
        log = finetune(learner, source, finetune_settings(config), checkpoint, show, team)
        if isinstance(learner, Standardised):
            learner.fold()
        return log

    _tune(stage, config, here, "fine-tuning", learn, lambda: {"head.safetensors": head_arrays(head)})


def tune_whole(
    stage: StageFolder, regions: RCNNRegions, source: TrainingWindows, config: Config, here: Processes = ALONE
) -> None:
    """Fine-tune the trunk too, on warped crops."""

    def learn(checkpoint: Path, show: Progress, team: Team) -> Log:
        settings = replace(finetune_settings(config), checkpoint_every=1)  # a chunk takes a minute here
        return finetune_whole(regions, source, config.finetune.first_conv, settings, checkpoint, show, team)

    def files() -> dict[str, Arrays]:
        trunk = {name: tensor.numpy() for name, tensor in regions.trunk.state().items()}
        return {TRUNK_FILE: trunk, "head.safetensors": head_arrays(regions.head)}

    _tune(stage, config, here, "fine-tuning all", learn, files)


def _tune(
    stage: StageFolder,
    config: Config,
    here: Processes,
    title: str,
    learn: Callable[[Path, Progress, Team], Log],
    files: Callable[[], dict[str, Arrays]],
) -> None:
    """Let a team learn, and its first process keep the files of what was learnt."""
    checkpoint = stage.path("checkpoint.safetensors")
    with join_team(here) as team:
        if team is None:
            return
        log: Log = []
        if config.finetune.iterations:
            with progress(title) as show:
                log = learn(checkpoint, show, team)
        if team.rank == 0:
            for name, arrays in files().items():
                write_arrays(stage.path(name), arrays)
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


def fit_svms(stage: StageFolder, source: TrainingWindows, config: Config, here: Processes = ALONE) -> None:
    """Train the SVMs with hard negatives; the log of the mining stays beside them."""
    svm = config.svm
    checkpoint = stage.path("checkpoint.safetensors")
    with progress(f"SVMs on {svm.layer}") as show:
        exchange = svm.layer != "pool5" and (svm.layer, False) not in source.stored  # else they are as quick to make
        images = WithMirrored(source) if svm.flip else source
        moments = Moments.draw(images, svm.layer, config.seed) if svm.standardise else None
        examples = images if moments is None else StandardisedSource(images, moments)
        svms, log = train_svms(examples, svm.layer, make_svm_settings(config), checkpoint, show, here, exchange)
        if moments is not None:
            moments.fold(svms)
    here.wait()
    if here.first:
        write_arrays(stage.path("svms.safetensors"), svms.state())
        write_json(stage.path("log.json"), log)
        remove_checkpoints(checkpoint)
        stage.finish()


def load_svms(stage: StageFolder) -> LinearSVMs:
    """What `fit_svms` learnt."""
    return LinearSVMs.from_state(read_arrays(stage.path("svms.safetensors")))


def fit_regressor(stage: StageFolder, source: TrainingWindows, config: Config, here: Processes = ALONE) -> None:
    """Learn to regress boxes, class after class, each kept as it comes."""
    regressor = BoxRegressor(**regressor_params(config))
    known = _ClassWeights(stage)
    with progress("box regression", unit="windows") as show:
        regressor.fit(source, known, show, here)
    stage.close()
    here.wait()
    if here.first:
        write_arrays(stage.path("regressor.safetensors"), regressor.state())
        stage.packs.remove()
        stage.finish()


class _ClassWeights(MutableMapping[int, np.ndarray]):
    """The weights of classes, kept in a stage while the others are learnt."""

    def __init__(self, stage: StageFolder) -> None:
        self.stage = stage

    def __getitem__(self, label: int) -> np.ndarray:
        if str(label) not in self.stage.names():
            raise KeyError(label)
        return self.stage.read(str(label))["weights"]

    def __setitem__(self, label: int, weights: np.ndarray) -> None:
        self.stage.write(str(label), {"weights": weights})

    def __delitem__(self, label: int) -> None:
        self.stage.packs.drop({str(label)})

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(map(int, self.stage.names())))

    def __len__(self) -> int:
        return len(self.stage.names())


def load_regressor(stage: StageFolder) -> BoxRegressor:
    """What `fit_regressor` learnt."""
    return BoxRegressor.from_state(read_arrays(stage.path("regressor.safetensors")))
