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
from spp_det.structures import Boxes
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

    def backward(self, inputs: npt.NDArray[Any], labels: Tensor, bfloat16: bool) -> tuple[Tensor, Tensor]:
        """(logits float32 [B, K + 1], mean loss []) of a batch, whose gradients are left in the weights."""


class TunedHead:
    """The fully connected layers, which see pooled vectors; the convolutions stay as they are.

    head: pooled vectors float32 [B, D] to logits [B, K + 1], the background last; an `FcHead`.
    """

    def __init__(self, head: nn.Module, source: PooledSource) -> None:
        self.module = head
        self.source = source
        self.read = source.pooled

    def room(self, iterations: int, batch: int) -> npt.NDArray[np.float16]:
        """Maps are stored in half precision, so a maximum over their cells loses nothing in float16."""
        return np.empty((iterations, batch, self.source.dim("pool5")), np.float16)

    def backward(self, inputs: npt.NDArray[np.float16], labels: Tensor, bfloat16: bool) -> tuple[Tensor, Tensor]:
        """See `Tuned`."""
        logits, loss = classify(self.module, torch.from_numpy(inputs).float(), labels, bfloat16)
        loss.backward()
        return logits, loss


def classify(head: nn.Module, vectors: Tensor, labels: Tensor, bfloat16: bool) -> tuple[Tensor, Tensor]:
    """(logits float32 [B, K + 1], mean softmax loss []) of pooled vectors [B, D]."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = head(vectors).float()
    return logits, cross_entropy(logits, labels)


def finetune(
    head: nn.Module,
    source: PooledSource,
    settings: FinetuneSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> Log:
    """Tune the fully connected layers in place; see `TunedHead` and `tune`."""
    return tune(TunedHead(head, source), source, settings, checkpoint, progress)


def tune(
    tuned: Tuned,
    source: PooledSource,
    settings: FinetuneSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> Log:
    """Tune a network in place; returns the log: iteration, rate, loss and error of each chunk of iterations.

    Where the file `checkpoint` exists the run goes on from there and ends in the bytes of an undisturbed one.
    Raises SppDetError where the loss is not finite, where the data have no positive window, or where the checkpoint
    is broken or another run's.
    """
    module = tuned.module
    optimizer = sgd(module, settings.momentum, settings.weight_decay, settings.bias_rate, settings.fc8_rate)
    done, log = load_checkpoint(checkpoint, module, optimizer, settings)
    module.train()
    with torch.random.fork_rng(devices=[]):
        while done < settings.iterations:
            losses, errors = [], []
            for inputs, labels in _batches(tuned, source, settings, done):
                rate = settings.rate(done)
                optimizer.zero_grad()
                logits, loss = tuned.backward(inputs, labels, settings.bfloat16)
                if not math.isfinite(loss.item()):
                    raise SppDetError(f"fine-tuning: loss {loss.item()} at iteration {done}, learning rate {rate}")
                set_rate(optimizer, rate)
                optimizer.step()
                done += 1
                losses.append(loss.item())
                errors.append((logits.argmax(1) != labels).float().mean().item())
                progress(done, settings.iterations)
            log.append(
                {"iteration": done, "rate": rate, "loss": float(np.mean(losses)), "error": float(np.mean(errors))}
            )
            if checkpoint and (len(log) % settings.checkpoint_every == 0 or done == settings.iterations):
                save_checkpoint(checkpoint, module, optimizer, settings, done, log)
    module.eval()
    return log


def _batches(
    tuned: Tuned, source: PooledSource, settings: FinetuneSettings, done: int
) -> Iterator[tuple[npt.NDArray[Any], Tensor]]:
    """The batches of the chunk that starts at iteration `done`: what is seen, [B, ...], and the labels int64 [B].

    Dropout's randomness starts anew here from the chunk's own seed, so that going on from here needs no random state.
    """
    sampling = settings.sampling
    chunk = done // sampling.chunk
    inputs = tuned.room(min(sampling.chunk, settings.iterations - done), sampling.batch_size)
    labels = sample_chunk(source, sampling, settings.seed, chunk, inputs, tuned.read)
    torch.manual_seed(int(np.random.SeedSequence([settings.seed, chunk, 1]).generate_state(1)[0]))
    for batch, of_batch in zip(inputs, labels, strict=True):
        yield batch, torch.from_numpy(of_batch)
