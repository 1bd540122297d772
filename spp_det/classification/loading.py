"""Batches of images, read and altered by other processes while this one trains.

What an image becomes follows from the seed, the epoch and its number alone, so that neither the number of processes nor
a restart in the middle of an epoch changes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spp_det.classification.config import ClassificationConfig, TrainingConfig
from spp_det.classification.crops import colour_shift, cut, origins, random_crop
from spp_det.classification.folders import LabelledImages, read_scaled
from spp_det.errors import DataError
from spp_det.parallel import available_cores
from spp_det.structures import Image

Floats = npt.NDArray[np.float32]
Sample = tuple[Image, Floats, int]  # pixels [s, s, 3], what is added to its colours [3], label


@dataclass
class Batch:
    """Images of one size, those of a batch that could be read.

    pixels: uint8 [B, s, s, 3]; shifts: float32 [B, 3]; labels: int64 [B]; count: how many there should have been, over
    all processes; faults: what was wrong with the others.
    """

    pixels: Tensor
    shifts: Tensor
    labels: Tensor
    count: int
    faults: list[DataError] = field(default_factory=list)

    def pin_memory(self) -> Batch:  # the loader calls this, by its name, where a GPU waits
        """The same in memory that a GPU reads by itself."""
        return Batch(
            self.pixels.pin_memory(), self.shifts.pin_memory(), self.labels.pin_memory(), self.count, self.faults
        )


def collate(samples: Sequence[Sample | DataError], size: int, count: int) -> Batch:
    """A batch of samples of `size` px; faults are set apart."""
    good = [sample for sample in samples if not isinstance(sample, DataError)]
    pixels = np.stack([pixels for pixels, _, _ in good]) if good else np.zeros((0, size, size, 3), np.uint8)
    shifts = np.stack([shift for _, shift, _ in good]) if good else np.zeros((0, 3), np.float32)
    labels = np.array([label for _, _, label in good], np.int64)
    faults = [sample for sample in samples if isinstance(sample, DataError)]
    return Batch(torch.from_numpy(pixels), torch.from_numpy(shifts), torch.from_numpy(labels), count, faults)


class TrainingBatches(Dataset[Batch]):
    """The batches of one epoch, by number; with several processes, one's share of each.

    size: px of this epoch's images; components: of `colour_components`; rank, world: which of how many processes.
    """

    def __init__(
        self,
        images: LabelledImages,
        config: ClassificationConfig,
        epoch: int,
        size: int,
        components: Floats,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images, self.training, self.epoch, self.size = images, config.training, epoch, size
        self.seed, self.components, self.rank, self.world = config.seed, components, rank, world
        self.order = np.random.default_rng([config.seed, epoch]).permutation(len(images))

    def __len__(self) -> int:
        return num_batches(len(self.images), self.training)

    def __getitem__(self, number: int) -> Batch:
        width = self.training.batch_size
        chosen = self.order[number * width : (number + 1) * width]
        return collate([self.sample(int(index)) for index in chosen[self.rank :: self.world]], self.size, len(chosen))

    def sample(self, index: int) -> Sample | DataError:
        """One image, altered as this epoch has it, or why there is none."""
        training = self.training
        rng = np.random.default_rng([self.seed, self.epoch, index])
        try:
            image = read_scaled(self.images.paths[index], training.short_side)
        except DataError as fault:
            return fault
        pixels = random_crop(image, training.crop, self.size, training.flip, rng)
        return pixels, colour_shift(self.components, training.colour, rng), int(self.images.labels[index])


class CentreBatches(Dataset[Batch]):
    """The central crops of all images in order, as they are, in batches; with several processes, one's share."""

    def __init__(
        self, images: LabelledImages, short_side: int, crop: int, width: int = 64, rank: int = 0, world: int = 1
    ) -> None:
        self.images, self.short_side, self.crop, self.width = images, short_side, crop, width
        self.indices = np.arange(len(images))[rank::world]

    def __len__(self) -> int:
        return -(-len(self.indices) // self.width)

    def __getitem__(self, number: int) -> Batch:
        chosen = self.indices[number * self.width : (number + 1) * self.width]
        return collate([self.sample(int(index)) for index in chosen], self.crop, len(chosen))

    def sample(self, index: int) -> Sample | DataError:
        """One central crop, or why there is none."""
        try:
            image = read_scaled(self.images.paths[index], self.short_side)
        except DataError as fault:
            return fault
        crop = cut(image, origins(image.shape[:2], self.crop)[0], self.crop)
        return crop, np.zeros(3, np.float32), int(self.images.labels[index])


def num_batches(num_images: int, training: TrainingConfig) -> int:
    """Batches of an epoch; the last may be smaller."""
    return -(-num_images // training.batch_size)


def load(batches: Dataset[Batch], numbers: range, workers: int, pin: bool) -> Iterator[Batch]:
    """The batches of these numbers, in order, made ahead by `workers` processes.

    workers: -1 for one a core, 0 for none but this one; pin: whether a GPU is to fetch them.
    """
    workers = available_cores() if workers < 0 else workers
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,  # a batch is made whole, by one process
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=pin,
        worker_init_fn=_begin,
    )
    return iter(loader)


def _begin(_: int) -> None:
    """A process that reads images does so by one thread: there are as many of them as cores."""
    cv2.setNumThreads(0)
