"""Fine-tuning of the fully connected layers on pooled windows (P4 section 4.1); the convolutions stay as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from spp_det.errors import SppDetError
from spp_det.training.checkpoint import load_checkpoint, save_checkpoint
from spp_det.training.sampling import SamplingSettings, sample_chunk
from spp_det.training.source import PooledSource, Progress, silent

Rates = tuple[tuple[int, float], ...]  # (iterations, learning rate), one after the other

PAPER_RATES: Rates = ((250_000, 1e-4), (50_000, 1e-5))
RELEASED_RATES: Rates = ((30_000, 1e-3), (30_000, 1e-4), (140_000, 1e-5))


@dataclass(frozen=True)
class FinetuneSettings:
    """How the layers are tuned.

    iterations: in all; rates: the learning rates, each for a number of iterations, the last of them for the rest.
    momentum, weight_decay: of SGD, the decay on weights only. bias_rate: the biases' learning rate over the weights',
    2 in the release.
    bfloat16: multiply in half the precision, which is faster where the processor has instructions for it.
    checkpoint_every: chunks of iterations between two checkpoints.
    """

    iterations: int = 300_000
    rates: Rates = PAPER_RATES
    momentum: float = 0.9
    weight_decay: float = 5e-4
    bias_rate: float = 1.0
    bfloat16: bool = False
    checkpoint_every: int = 10
    seed: int = 0
    sampling: SamplingSettings = field(default_factory=SamplingSettings)

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        ends = np.cumsum([count for count, _ in self.rates])
        step = int(np.searchsorted(ends, iteration, side="right"))
        return self.rates[min(step, len(self.rates) - 1)][1]


def finetune(
    head: nn.Module,
    source: PooledSource,
    settings: FinetuneSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, float]]:
    """Tune the head in place; returns the log: iteration, rate, loss and error of each chunk of iterations.

    head: pooled vectors float32 [B, D] to logits [B, K + 1], the background last; an `FcHead`.
    Where the file `checkpoint` exists the run goes on from there and ends in the bytes of an undisturbed one.
    Raises SppDetError where the loss is not finite, where the data have no positive window, or where the checkpoint
    is broken or another run's.
    """
    optimizer = _optimizer(head, settings)
    done, log = load_checkpoint(checkpoint, head, optimizer, settings)
    head.train()
    with torch.random.fork_rng(devices=[]):
        while done < settings.iterations:
            losses, errors = [], []
            for vectors, labels in _batches(source, settings, done):
                rate = settings.rate(done)
                with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
                    logits = head(vectors).float()  # [B, K + 1]
                loss = cross_entropy(logits, labels)
                if not math.isfinite(loss.item()):
                    raise SppDetError(f"fine-tuning: loss {loss.item()} at iteration {done}, learning rate {rate}")
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["factor"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                losses.append(loss.item())
                errors.append((logits.argmax(1) != labels).float().mean().item())
                progress(done, settings.iterations)
            log.append(
                {"iteration": done, "rate": rate, "loss": float(np.mean(losses)), "error": float(np.mean(errors))}
            )
            if checkpoint and (len(log) % settings.checkpoint_every == 0 or done == settings.iterations):
                save_checkpoint(checkpoint, head, optimizer, settings, done, log)
    head.eval()
    return log


def _batches(
    source: PooledSource, settings: FinetuneSettings, done: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of the chunk that starts at iteration `done`: float32 [B, D] and int64 [B].

    Dropout's randomness starts anew here from the chunk's own seed, so that going on from here needs no random state.
    """
    sampling = settings.sampling
    chunk = done // sampling.chunk
    iterations = min(sampling.chunk, settings.iterations - done)
    vectors = np.empty((iterations, sampling.batch_size, source.dim("pool5")), np.float16)
    labels = sample_chunk(source, sampling, settings.seed, chunk, vectors)
    torch.manual_seed(int(np.random.SeedSequence([settings.seed, chunk, 1]).generate_state(1)[0]))
    for batch, of_batch in zip(vectors, labels, strict=True):
        yield torch.from_numpy(batch).float(), torch.from_numpy(of_batch)


def _optimizer(head: nn.Module, settings: FinetuneSettings) -> torch.optim.SGD:
    named = list(head.named_parameters())
    weights = [value for name, value in named if not name.endswith("bias")]
    biases = [value for name, value in named if name.endswith("bias")]
    groups = [
        {"params": weights, "factor": 1.0},
        {"params": biases, "factor": settings.bias_rate, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True)
