"""A small data set of one class, as a user brings it: images to learn from, and others to test on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from spp_det.datasets import Dataset
from spp_det.datasets.memory import as_dataset
from spp_det.errors import ConfigError, DataError
from spp_det.evaluation.voc import Method, evaluate
from spp_det.structures import Detections, Target

METHODS: tuple[Method, ...] = get_args(Method)


def label_of(dataset: Dataset, name: str) -> int:
    """The label of a class. Raises ConfigError where the data set does not know it."""
    if name not in dataset.class_names:
        raise ConfigError(f"the data have no class {name!r}; they have {', '.join(dataset.class_names)}")
    return dataset.class_names.index(name)


def learning_ids(dataset: Dataset, name: str, count: int) -> tuple[str, ...]:
    """So many images with an object of a class that is not difficult, evenly spread over those that there are.

    Raises DataError where there are fewer, ConfigError for an unknown class.
    """
    label = label_of(dataset, name)
    clear = {image_id: target.labels[~target.difficult] for image_id, target in _targets(dataset)}
    found = [image_id for image_id, labels in clear.items() if (labels == label).any()]
    if len(found) < count:
        raise DataError(_folder(dataset), f"{len(found)} images show the class {name!r}, and {count} are asked for")
    return _evenly(found, count)


def testing_ids(dataset: Dataset, name: str, count: int) -> tuple[str, ...]:
    """So many images, evenly spread, half of them with an object of a class as far as there are so many.

    Raises DataError where no image has one, ConfigError for an unknown class.
    """
    label = label_of(dataset, name)
    has = {image_id: bool((target.labels == label).any()) for image_id, target in _targets(dataset)}
    groups = [[image_id for image_id in dataset.ids if has[image_id] == wanted] for wanted in (True, False)]
    if not groups[0]:
        raise DataError(_folder(dataset), f"no image shows the class {name!r}")
    half = count // 2
    return _evenly(groups[0], min(half, len(groups[0]))) + _evenly(groups[1], min(count - half, len(groups[1])))


def one_class(dataset: Dataset, name: str, ids: Iterable[str]) -> Dataset:
    """Some images as a data set that knows one class alone: objects of others are not marked in it."""
    label = label_of(dataset, name)
    return as_dataset([(dataset.image_path(each), _of_class(dataset.target(each), label)) for each in ids], [name])


def precisions(dataset: Dataset, detections: Mapping[str, Detections]) -> dict[str, float]:
    """The mean average precision of detections, by each way to take it: "11point" and "area", in [0, 1]."""
    targets = {image_id: dataset.target(image_id) for image_id in detections}
    return {method: evaluate(targets, detections, dataset.class_names, method=method)["map"] for method in METHODS}


def _targets(dataset: Dataset) -> Iterable[tuple[str, Target]]:
    return ((image_id, dataset.target(image_id)) for image_id in dataset.ids)


def _of_class(target: Target, label: int) -> Target:
    mine = target.labels == label
    return Target(target.boxes[mine], np.zeros(int(mine.sum()), np.int64), target.difficult[mine])


def _evenly(ids: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(ids[index] for index in np.linspace(0, len(ids) - 1, count).round().astype(int)) if count else ()


def _folder(dataset: Dataset) -> str:
    return str(dataset.image_path(dataset.ids[0]).parent)
