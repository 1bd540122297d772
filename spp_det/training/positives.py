"""The ground truth of the training images, and its vectors by class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spp_det.structures import Boxes, Labels
from spp_det.training.source import Vectors, WindowSource


@dataclass(frozen=True, eq=False)
class Truths:
    """The objects of image `image`: boxes float32 [n, 4], labels int64 [n]."""

    image: int
    boxes: Boxes
    labels: Labels


def find_truths(source: WindowSource) -> list[Truths]:
    """The objects of each image that has any, in order."""
    found = []
    for image in range(len(source)):
        windows = source.windows(image)
        if windows.is_truth.any():
            found.append(Truths(image, windows.boxes[windows.is_truth], windows.labels[windows.is_truth]))
    return found


def by_class(truths: Sequence[Truths], vectors: Iterable[Vectors], num_classes: int, dim: int) -> list[Vectors]:
    """The vectors of each class's objects, float32 [n, dim] each, from those of each image's."""
    found: list[list[Vectors]] = [[np.zeros((0, dim), np.float32)] for _ in range(num_classes)]
    for each, its_vectors in zip(truths, vectors, strict=True):
        for label in np.unique(each.labels):
            found[label].append(its_vectors[each.labels == label])
    return [np.concatenate(parts) for parts in found]
