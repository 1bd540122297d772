"""Fine-tuning on windows: of the fully connected layers in SPP-net (P4 section 4.1), of whole networks in R-CNN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spp_det.errors import SppDetError
from spp_det.networks import FcHead
from spp_det.structures import Boxes
from spp_det.team import LONE, Team
from spp_det.training.checkpoint import load_checkpoint, save_checkpoint
from spp_det.training.optimizer import set_rate, sgd
from spp_det.training.sampling import SamplingSettings, sample_chunk
from spp_det.training.source import PooledSource, Progress, silent

Rates = tuple[tuple[int, float], ...]  # (iterations, learning rate), one after the other
Log = list[dict[str, float]]

PAPER_RATES: Rates = ((250_000, 1e-4), (50_000, 1e-5))
RELEASED_RATES: Rates = ((30_000, 1e-3), (30_000, 1e-4), (140_000, 1e-5))


@dataclass(frozen=True)
class FinetuneSettings:
    """How the layers are tuned.

    iterations: in all; rates: the learning rates, each for a number of iterations, the last of them for the rest.
    momentum, weight_decay: of SGD, the decay on weights only. bias_rate: the biases' learning rate over the weights',
    2 in the release; fc8_rate: that of the new layer over the others', 10 in R-CNN.
    bfloat16: multiply in half the precision, which is faster where the processor has instructions for it.
    checkpoint_every: chunks of iterations between two checkpoints.
    """

    iterations: int = 300_000
    rates: Rates = PAPER_RATES
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_rate: float = 1.0
    fc8_rate: float = 1.0
    bfloat16: bool = False
    checkpoint_every: int = 10
    seed: int = 0
    sampling: SamplingSettings = field(default_factory=SamplingSettings)

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        ends = np.cumsum([count for count, _ in self.rates])
        step = int(np.searchsorted(ends, iteration, side="right"))
        return self.rates[min(step, len(self.rates) - 1)][1]


class Tuned(Protocol):
    """What is tuned, and what it sees of a window."""

    @property
    def module(self) -> nn.Module:
        """Whose weights learn, those that take gradients."""

    def room(self, iterations: int, batch: int) -> npt.NDArray[Any]:
        """Memory for what it sees of a chunk of windows: [iterations, batch, ...]."""

    def read(
        self, index: int, boxes: Boxes, *, flipped: bool = False, scale_indices: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[Any]:
        """What it sees of boxes of image `index`: [n, ...]; arguments as in `PooledSource.pooled`."""

    def backward(
        self, inputs: npt.NDArray[Any], labels: Tensor, bfloat16: bool, weight: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """(logits float32 [B, K + 1], mean loss []) of a batch, or of a team's rows of it.

        The gradients of `weight` times the loss are left in the weights, averaged over the team.
        """


class TunedHead:
    """The fully connected layers, which see pooled vectors; the convolutions stay as they are.

    head: pooled vectors float32 [B, D] to logits [B, K + 1], the background last; an `FcHead`.
    team: the processes that tune it together.
    """

    def __init__(self, head: nn.Module, source: PooledSource, team: Team = LONE) -> None:
        self.module = head
        self.network = team.wrap(head)
        self.device = team.device
        self.source = source
        self.read = source.pooled

    def room(self, iterations: int, batch: int) -> npt.NDArray[np.float16]:
        """Maps are stored in half precision, so a maximum over their cells loses nothing in float16."""
        return np.empty((iterations, batch, self.source.dim("pool5")), np.float16)

    def backward(
        self, inputs: npt.NDArray[np.float16], labels: Tensor, bfloat16: bool, weight: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """See `Tuned`."""
        vectors = torch.from_numpy(inputs).to(self.device).float()
        logits, loss = classify(self.network, vectors, labels, bfloat16)
        (loss * weight).backward()
        return logits, loss


def classify(head: nn.Module, vectors: Tensor, labels: Tensor, bfloat16: bool) -> tuple[Tensor, Tensor]:
    """(logits float32 [B, K + 1], mean softmax loss []) of pooled vectors [B, D]."""
    with torch.autocast(vectors.device.type, torch.bfloat16, enabled=bfloat16):
        logits = head(vectors).float()
    return logits, cross_entropy(logits, labels)


def finetune(
    head: nn.Module,
    source: PooledSource,
    settings: FinetuneSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    team: Team = LONE,
) -> Log:
    """Tune the fully connected layers in place; see `TunedHead` and `tune`."""
    return tune(TunedHead(head.to(team.device), source, team), source, settings, checkpoint, progress, team)


def tune(
    tuned: Tuned,
    source: PooledSource,
    settings: FinetuneSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    team: Team = LONE,
) -> Log:
    """Tune a network in place; returns the log: iteration, rate, loss and error of each chunk of iterations.

    team: the processes that do it together, each on its rows of every batch, so that they learn what one does, but for
    the rounding of sums: what is drawn, of windows and by dropout, is drawn for the whole batch by each of them. The
    first writes the checkpoint, with which a team of another size can go on.
    Where the file `checkpoint` exists the run goes on from there and ends in the bytes of an undisturbed one.
    Raises SppDetError where the loss is not finite, where the data have no positive window, or where the checkpoint
    is broken or another run's.
    """
    module, share = tuned.module, team.rows(settings.sampling.batch_size)
    weight = (share.stop - share.start) / settings.sampling.batch_size
    for part in module.modules():
        if isinstance(part, FcHead):
            part.share = None if team.world == 1 else (share, settings.sampling.batch_size)
    optimizer = sgd(module, settings.momentum, settings.weight_decay, settings.bias_rate, settings.fc8_rate)
    done, log = load_checkpoint(checkpoint, module, optimizer, settings)
    module.train()
    with torch.random.fork_rng(devices=[team.device] if team.device.type == "cuda" else []):
        while done < settings.iterations:
            losses, errors = [], []
            for inputs, labels in _batches(tuned, source, settings, done, share):
                rate = settings.rate(done)
                optimizer.zero_grad()
                labels = labels.to(team.device)
                logits, its_loss = tuned.backward(inputs, labels, settings.bfloat16, weight * team.world)
                its_error = (logits.argmax(1) != labels).float().mean()
                loss, error = team.sum(torch.stack([its_loss.detach(), its_error]) * weight).tolist()
                if not math.isfinite(loss):
                    raise SppDetError(f"fine-tuning: loss {loss} at iteration {done}, learning rate {rate}")
                set_rate(optimizer, rate)
                optimizer.step()
                done += 1
                losses.append(loss)
                errors.append(error)
                progress(done, settings.iterations)
            log.append(
                {"iteration": done, "rate": rate, "loss": float(np.mean(losses)), "error": float(np.mean(errors))}
            )
            if (
                checkpoint
                and team.rank == 0
                and (len(log) % settings.checkpoint_every == 0 or done == settings.iterations)
            ):
                save_checkpoint(checkpoint, module, optimizer, settings, done, log)
    module.eval()
    return log


def _batches(
    tuned: Tuned, source: PooledSource, settings: FinetuneSettings, done: int, share: slice
) -> Iterator[tuple[npt.NDArray[Any], Tensor]]:
    """The rows `share` of the batches of the chunk that starts at iteration `done`: what is seen, and labels int64.

    Dropout's randomness starts anew here from the chunk's own seed, so that going on from here needs no random state.
    """
    sampling = settings.sampling
    chunk = done // sampling.chunk
    inputs = tuned.room(min(sampling.chunk, settings.iterations - done), share.stop - share.start)
    labels = sample_chunk(source, sampling, settings.seed, chunk, inputs, tuned.read, share)
    torch.manual_seed(int(np.random.SeedSequence([settings.seed, chunk, 1]).generate_state(1)[0]))
    for batch, of_batch in zip(inputs, labels, strict=True):
        yield batch, torch.from_numpy(of_batch)
