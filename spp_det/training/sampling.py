"""The windows that fine-tuning sees: 25% of them on objects, from many images at once (P4 section 4.1).

The released code fills a chunk of iterations at a time (spp_finetune_voc.m): images in a random order give windows
until there are enough, and the windows are dealt to the batches. A chunk is a function of the seed and its number
alone, so that a run which is killed can go on at any chunk without having stored its windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.errors import SppDetError
from spp_det.structures import Boxes
from spp_det.training.source import PooledSource, Windows


@dataclass(frozen=True)
class SamplingSettings:
    """Which windows are drawn.

    batch_size: windows in a batch; positive_fraction: the part of them on objects.
    positive_overlap: the least overlap with an object of a positive; its class is that of the best-overlapping object.
    negative_overlap: a negative's best overlap is at least the first and less than the second.
    chunk: iterations whose windows are drawn, and held in memory, together.
    windows_per_image: the most that one visit of an image gives, split by positive_fraction.
    flip: mirror every second visit, at random. random_scales: a random scale for each window, as in the release.
    """

    batch_size: int = 128
    positive_fraction: float = 0.25
    positive_overlap: float = 0.5
    negative_overlap: tuple[float, float] = (0.1, 0.5)
    chunk: int = 100
    windows_per_image: int = 64
    flip: bool = True
    random_scales: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.positives_of(self.batch_size) < self.batch_size:
            raise ValueError(f"no room for both kinds in batches of {self.batch_size} at {self.positive_fraction}")
        if min(self.chunk, self.windows_per_image - 1) < 1:
            raise ValueError("chunk is at least 1 and windows_per_image at least 2")

    def positives_of(self, count: int) -> int:
        """How many of `count` windows are positives."""
        return round(count * self.positive_fraction)

    def candidates(self, windows: Windows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The indices of the windows that are positives, and of those that are negatives."""
        best = windows.best
        low, high = self.negative_overlap
        positive = best >= self.positive_overlap
        negative = (best >= low) & (best < high) & ~positive
        return np.flatnonzero(positive), np.flatnonzero(negative)


@dataclass(frozen=True, eq=False)
class Visit:
    """What one visit of an image gives: some windows of it, all of them mirrored or none.

    boxes: float32 [n, 4]; labels: int64 [n], K for a negative; num_positives: the positives come first.
    scale_indices: int64 [n], or None for the source's own rule.
    """

    image: int
    boxes: Boxes
    labels: npt.NDArray[np.int64]
    num_positives: int
    flipped: bool
    scale_indices: npt.NDArray[np.int64] | None


def plan_chunk(
    source: PooledSource, settings: SamplingSettings, rng: np.random.Generator, positives: int, negatives: int
) -> Iterator[Visit]:
    """Visits of images in random order that give exactly so many positives and negatives together.

    On the first round through the images no window is drawn twice. Where that is not enough, further rounds draw with
    replacement from the images that have some. Raises SppDetError where no image has any of a kind that is needed.
    """
    most_positives = max(1, settings.positives_of(settings.windows_per_image))
    most = np.array([most_positives, max(1, settings.windows_per_image - most_positives)])
    needed = np.array([positives, negatives])
    images = np.arange(len(source))
    repeat = False
    while needed.any():
        found = np.zeros((len(source), 2), bool)
        for image in rng.permutation(images):
            windows = source.windows(int(image))
            kinds = settings.candidates(windows)
            found[image] = [len(kind) > 0 for kind in kinds]
            drawn = [_draw(rng, *each, repeat) for each in zip(kinds, np.minimum(most, needed), strict=True)]
            needed -= [len(chosen) for chosen in drawn]
            if drawn[0].size or drawn[1].size:
                yield _visit(source, settings, rng, int(image), windows, drawn)
            if not needed.any():
                return
        _check_found(settings, needed, found)
        images = np.flatnonzero(found[:, needed > 0].any(axis=1))
        repeat = True


def sample_chunk(
    source: PooledSource,
    settings: SamplingSettings,
    seed: int,
    chunk: int,
    inputs: npt.NDArray[Any],
    read: Callable[..., npt.NDArray[Any]] | None = None,
    share: slice | None = None,
) -> npt.NDArray[np.int64]:
    """Fill `inputs`, [iterations, batch, ...], with what `read` gives of windows; returns their labels, int64.

    The labels are [iterations, batch], a negative's is K. In every batch the positives come first.
    read: called as `source.pooled` is, which is also what None stands for.
    share: the rows of every batch of `settings.batch_size` that are wanted, None for all; inputs and labels have no
    others.
    """
    read = read or source.pooled
    rng = np.random.default_rng([seed, chunk])
    iterations, batch = len(inputs), inputs.shape[1] if share is None else settings.batch_size
    positives = settings.positives_of(batch)
    places = np.arange(iterations * batch).reshape(iterations, batch)
    free = [rng.permutation(places[:, :positives].ravel()), rng.permutation(places[:, positives:].ravel())]
    wanted = np.full((iterations, batch), -1)  # the row of `rows` of each place
    wanted[:, share or slice(None)] = np.arange(iterations * inputs.shape[1]).reshape(inputs.shape[:2])
    row_of = wanted.ravel()
    rows = inputs.reshape(iterations * inputs.shape[1], *inputs.shape[2:])
    labels = np.zeros(len(rows), np.int64)
    used = [0, 0]
    for visit in plan_chunk(source, settings, rng, len(free[0]), len(free[1])):
        counts = [visit.num_positives, len(visit.boxes) - visit.num_positives]
        at = np.concatenate([free[kind][used[kind] : used[kind] + counts[kind]] for kind in (0, 1)])
        used = [used[0] + counts[0], used[1] + counts[1]]
        ours = row_of[at] >= 0
        if not ours.any():
            continue
        scales = None if visit.scale_indices is None else visit.scale_indices[ours]
        rows[row_of[at[ours]]] = read(visit.image, visit.boxes[ours], flipped=visit.flipped, scale_indices=scales)
        labels[row_of[at[ours]]] = visit.labels[ours]
    return labels.reshape(inputs.shape[:2])


def _draw(
    rng: np.random.Generator, candidates: npt.NDArray[np.int64], count: int, repeat: bool
) -> npt.NDArray[np.int64]:
    if not len(candidates) or not count:
        return candidates[:0]
    if repeat:
        return rng.choice(candidates, count)
    return rng.permutation(candidates)[:count]


def _visit(
    source: PooledSource,
    settings: SamplingSettings,
    rng: np.random.Generator,
    image: int,
    windows: Windows,
    drawn: list[npt.NDArray[np.int64]],
) -> Visit:
    positives, negatives = drawn
    background = np.full(len(negatives), windows.overlaps.shape[1])
    chosen = np.concatenate([positives, negatives])
    return Visit(
        image,
        windows.boxes[chosen],
        np.concatenate([windows.labels[positives], background]),
        len(positives),
        bool(settings.flip and rng.random() < 0.5),
        rng.integers(source.num_scales, size=len(chosen)) if settings.random_scales else None,
    )


def _check_found(settings: SamplingSettings, needed: npt.NDArray[np.int64], found: npt.NDArray[np.bool_]) -> None:
    low, high = settings.negative_overlap
    ranges = (f"{settings.positive_overlap} or more", f"{low} to {high}")
    for kind in (0, 1):
        if needed[kind] and not found[:, kind].any():
            raise SppDetError(
                f"cannot fine-tune: no window of the {len(found)} training images overlaps an object by {ranges[kind]}"
            )
