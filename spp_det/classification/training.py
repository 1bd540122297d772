"""Training a classifier: single-size, multi-size, random-size, or without a pyramid (P4 sections 2.3 and 3.1)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ReduceLROnPlateau

from spp_det.classification.config import ClassificationConfig, TrainingConfig
from spp_det.classification.crops import colour_components
from spp_det.classification.folders import LabelledImages, read_folders
from spp_det.classification.loading import Batch, CentreBatches, TrainingBatches, load
from spp_det.classification.network import SPPClassifier, build_classifier, network_input, save_classifier
from spp_det.errors import SppDetError
from spp_det.files import write_json
from spp_det.networks.precision import product_type
from spp_det.states import read_state, write_state
from spp_det.team import Team, join_team
from spp_det.tooling import progress
from spp_det.torchrun import processes
from spp_det.training.checkpoint import restore_training, training_arrays
from spp_det.training.optimizer import set_rate, sgd

LOOK_EVERY = 20  # iterations between two looks at the loss, for each of which a GPU is waited for
Totals = list[float]  # the sum of losses, wrong images, images, unreadable images


@dataclass
class State:
    """Where training stands, beside the weights and their momentum."""

    epoch: int = 0
    iteration: int = 0  # of the epoch
    totals: Totals = field(default_factory=lambda: [0.0] * 4)  # of the epoch so far
    plateau: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)  # of the epochs that are done


def train_classifier(config: ClassificationConfig, out: Path, skip_bad: bool = False) -> list[dict[str, float]]:
    """Train, and leave the classifier and the log in `out`; returns the log, an entry an epoch.

    Stopped at any moment, the same call goes on from the last checkpoint in `out`, and ends in the same bytes as an
    undisturbed one on the same machine.
    skip_bad: go on without images that cannot be read, naming and counting them, rather than stop at the first.
    Raises SppDetError for faulty data, settings that do not fit, a checkpoint of other settings, or a loss that is not
    finite.
    """
    root = Path(config.data.root)
    images = read_folders(root / config.data.train, config.data.classes)
    val = read_folders(root / config.data.val, images.class_names) if config.data.val else None
    with processes() as all_of_them, join_team(all_of_them, everyone=True) as here:
        assert here is not None
        network = build_classifier(config, images.class_names).to(here.device)
        training = Training(config, images, val, network, here, out / "checkpoint.safetensors", skip_bad)
        training.run()
        if here.rank == 0:
            save_classifier(out, network, config)
            write_json(out / "log.json", training.state.log)
            print(f"trained: {out}", flush=True)
    return training.state.log


def epoch_size(training: TrainingConfig, seed: int, epoch: int) -> int:
    """The px of an epoch's images: each size in turn, or any between the least and the greatest. epoch: from 0."""
    if training.size_rule == "in_turn":
        return training.sizes[epoch % len(training.sizes)]
    rng = np.random.default_rng([seed, epoch, 1])
    return int(rng.integers(min(training.sizes), max(training.sizes) + 1))


class Training:
    """One training: the network changes in place."""

    def __init__(
        self,
        config: ClassificationConfig,
        images: LabelledImages,
        val: LabelledImages | None,
        network: SPPClassifier,
        here: Team,
        checkpoint: Path,
        skip_bad: bool = False,
    ) -> None:
        self.config, self.images, self.val, self.network, self.here = config, images, val, network, here
        self.checkpoint, self.skip_bad = checkpoint, skip_bad
        self.parallel = here.wrap(network)
        self.amp = product_type(config.precision, here.device)
        settings = config.training
        self.optimizer = sgd(network, settings.momentum, settings.weight_decay)
        set_rate(self.optimizer, settings.rate)
        self.plateau = ReduceLROnPlateau(
            self.optimizer, factor=0.1, patience=settings.patience, min_lr=settings.rate * 0.1**settings.drops
        )
        self.components = colour_components(images.paths) if settings.colour else np.zeros((3, 3), np.float32)
        self.state = State()
        self._identity = _identity(config, images, here)
        self._restore()

    def run(self) -> None:
        """All epochs that are not done yet."""
        gpus = [self.here.device] if self.here.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            while self.state.epoch < self.config.training.epochs:
                self._epoch()
                self.save()

    def _epoch(self) -> None:
        state, settings = self.state, self.config.training
        size = epoch_size(settings, self.config.seed, state.epoch)
        if settings.drop_after:
            set_rate(self.optimizer, settings.rate * 0.1 ** sum(state.epoch >= last for last in settings.drop_after))
        batches = TrainingBatches(
            self.images, self.config, state.epoch, size, self.components, self.here.rank, self.here.world
        )
        totals = torch.tensor(state.totals, dtype=torch.float64, device=self.here.device)
        title = f"epoch {state.epoch + 1}/{settings.epochs}, {size} px"
        begin, first, waited = time.monotonic(), state.iteration, 0.0
        self.parallel.train()
        with progress(title, first * settings.batch_size, "images") as show:
            coming = load(batches, range(first, len(batches)), settings.workers, self.here.device.type == "cuda")
            while state.iteration < len(batches):
                asked = time.monotonic()
                batch = next(coming)
                waited += time.monotonic() - asked
                self._report(batch)
                self._step(batch, totals)
                state.iteration += 1
                last = state.iteration == len(batches)
                if last or state.iteration % LOOK_EVERY == 0:
                    self._check(totals)
                    if self.here.rank == 0:
                        show(min(state.iteration * settings.batch_size, len(self.images)), len(self.images))
                if not last and state.iteration % settings.checkpoint_every == 0:
                    self._gather(totals)
                    self.save()
        self._gather(totals)
        seconds = time.monotonic() - begin
        self._finish(title, seconds, waited, (len(batches) - first) * settings.batch_size)

    def _step(self, batch: Batch, totals: torch.Tensor) -> None:
        """One step of the descent; the totals grow in place, without waiting for a GPU."""
        here, state = self.here, self.state
        torch.manual_seed(_noise_seed(self.config.seed, state.epoch, state.iteration, here.rank))  # of dropout
        pixels, shifts, labels = (
            values.to(here.device, non_blocking=True) for values in (batch.pixels, batch.shifts, batch.labels)
        )
        x = network_input(pixels, shifts, self.network.trunk.preprocessing)
        with torch.autocast(here.device.type, self.amp, enabled=self.amp != torch.float32):
            logits = self.parallel(x)  # [B, K]
        losses = cross_entropy(logits.float(), labels, reduction="sum")
        self.optimizer.zero_grad()
        (losses * (here.world / batch.count)).backward()  # processes average: together this is the mean of the batch
        self.optimizer.step()
        wrong = (logits.argmax(1) != labels).sum() if len(labels) else torch.zeros((), device=here.device)
        totals += torch.stack(
            [
                losses.detach().double(),
                wrong.double(),
                totals.new_tensor(len(labels)),
                totals.new_tensor(len(batch.faults)),
            ]
        )

    def _report(self, batch: Batch) -> None:
        """Name what could not be read. Raises the first DataError where it is not to be skipped."""
        for fault in batch.faults:
            if not self.skip_bad:
                raise fault
            print(f"left out {fault}", flush=True)

    def _check(self, totals: torch.Tensor) -> None:
        loss = totals[0].item()
        if not math.isfinite(loss):
            state = self.state
            raise SppDetError(
                f"training: the loss is {loss} by iteration {state.iteration} of epoch {state.epoch + 1}, "
                f"learning rate {self.rate}: try a lower training.rate"
            )

    def _gather(self, totals: torch.Tensor) -> None:
        """The totals of all processes into the state; the first process goes on from them, the others from zero."""
        self.here.sum(totals)
        self.state.totals = totals.tolist()
        if self.here.rank:
            totals.zero_()

    def _finish(self, title: str, seconds: float, waited: float, num_images: int) -> None:
        """Close an epoch: its line, the validation, the learning rate, the log."""
        state, settings = self.state, self.config.training
        loss, wrong, seen, faults = state.totals
        if not seen:
            raise SppDetError(
                f"{self.images.paths[0].parent.parent}: none of the {len(self.images)} images can be read"
            )
        entry = {"epoch": state.epoch + 1, "rate": self.rate, "loss": loss / seen, "error": wrong / seen}
        line = f"{title}: loss {entry['loss']:.3f}, error {100 * entry['error']:.1f}%"
        if self.val is not None:
            entry["val_error"] = self._validate(self.val)
            line += f", val {100 * entry['val_error']:.1f}%"
        if faults:
            entry["left_out"] = faults
            line += f", {faults:.0f} left out"
        if self.here.rank == 0:
            speed = f"{num_images / seconds:.0f} images/s, {100 * waited / seconds:.0f}% waiting for them"
            print(f"{line}, rate {self.rate:g}, {speed}", flush=True)
        if not settings.drop_after:
            self.plateau.step(entry.get("val_error", entry["loss"]))
        state.log.append(entry)
        state.epoch, state.iteration, state.totals = state.epoch + 1, 0, [0.0] * 4

    @torch.inference_mode()
    def _validate(self, val: LabelledImages) -> float:
        """The share of images whose central crop is classified wrongly."""
        settings, here = self.config.training, self.here
        batches = CentreBatches(val, settings.short_side, settings.crop, 64, here.rank, here.world)
        counts = torch.zeros(2, dtype=torch.float64, device=here.device)
        self.network.eval()
        for batch in load(batches, range(len(batches)), settings.workers, here.device.type == "cuda"):
            self._report(batch)
            if not len(batch.labels):
                continue
            x = network_input(
                batch.pixels.to(here.device), batch.shifts.to(here.device), self.network.trunk.preprocessing
            )
            with torch.autocast(here.device.type, self.amp, enabled=self.amp != torch.float32):
                wrong = self.network(x).argmax(1).cpu() != batch.labels
            counts += torch.tensor([float(wrong.sum()), len(wrong)], dtype=torch.float64, device=here.device)
        here.sum(counts)
        return float(counts[0] / max(float(counts[1]), 1.0))

    @property
    def rate(self) -> float:
        """The learning rate of the weights."""
        return self.optimizer.param_groups[0]["lr"]

    def save(self) -> None:
        """The checkpoint, written by the first process."""
        if self.here.rank == 0:
            self.state.plateau = self.plateau.state_dict()
            arrays = training_arrays(self.network, self.optimizer)
            write_state(self.checkpoint, arrays, {"settings": self._identity, **vars(self.state)})
        self.here.wait()

    def _restore(self) -> None:
        if not self.checkpoint.exists():
            return
        arrays, found = read_state(self.checkpoint, self._identity)
        restore_training(self.checkpoint, arrays, self.network, self.optimizer)
        self.state = State(**{key: value for key, value in found.items() if key != "settings"})
        self.plateau.load_state_dict(self.state.plateau)
        set_rate(self.optimizer, float(self.plateau.get_last_lr()[0]))
        if self.here.rank:
            self.state.totals = [0.0] * 4


def _identity(config: ClassificationConfig, images: LabelledImages, here: Team) -> dict[str, Any]:
    """What a checkpoint must have in common with the training that goes on from it."""
    settings = msgspec.to_builtins(config)
    del settings["data"], settings["testing"], settings["training"]["workers"]
    return settings | {"classes": images.class_names, "images": len(images), "processes": here.world}


def _noise_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence([*numbers, 2]).generate_state(1)[0])
