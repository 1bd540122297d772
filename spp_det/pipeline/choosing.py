"""All settings of a training, chosen by its images where the user names none; docs/own-data.md has the rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.config import Config, config_from, config_to_dict, config_to_toml, parse_setting
from spp_det.datasets import Dataset, Recognised, open_dataset, recognise
from spp_det.errors import DataError
from spp_det.files import write_whole

MOST_IMAGES = 5000  # more take hours; data.max_images = N takes more
SCALES = (480, 600, 800)  # px, short side
AIM = 224.0  # px: how large the median object is on the chosen scale; the paper's size of a window
FEW_OBJECTS = 1000  # up to here, and for few classes, no layers are tuned
FEW_CLASSES = 10
FINER = 1.5  # how many times larger the second image is in which a trained detector looks then
RARE = 100  # up to so many objects of a class its mirror images are learnt from, too
AS_MANY = 500.0  # windows of background that a class's objects, mirrored ones too, count as together ..
COUNTS = (2.0, 5.0)  # .. and so many times an object counts, at least, as in R-CNN, and at most
APART = 0.2  # IoU, at most, of two detections then: votes move neighbours onto the same object
FEW_IMAGES = 500  # up to here fine-tuning sees mirrored images, too
SCARCE = 10  # a class with fewer objects is told


@dataclass(frozen=True)
class Counts:
    """What there is to train on.

    images: those without a fault; objects: of each class, in the classes' order, without difficult ones; sides: of each
    object the square root of its area, as a part of its image's shorter side; faults: images that cannot be used.
    """

    images: int
    objects: dict[str, int]
    sides: npt.NDArray[np.float64]
    faults: int

    @property
    def total(self) -> int:
        """All objects."""
        return sum(self.objects.values())

    @property
    def learnt(self) -> int:
        """How many classes have an object; a file of COCO names eighty, whatever is in it."""
        return sum(number > 0 for number in self.objects.values())


@dataclass(frozen=True)
class Choice:
    """settings: tables of a configuration, all but `[data]`; why: what was chosen, and by what, in lines."""

    settings: dict[str, Any]
    why: tuple[str, ...]


def count_objects(dataset: Dataset) -> Counts:
    """Count what the annotations of a data set hold; of images only the headers are read."""
    images = faults = 0
    labels: list[int] = []
    sides: list[float] = []
    for image_id in dataset.ids:
        try:
            target, size = dataset.target(image_id), dataset.size(image_id)
        except DataError:  # training names it, and stops or leaves it out
            faults += 1
            continue
        images += 1
        clear = target[~target.difficult]
        labels += clear.labels.tolist()
        lengths = (clear.boxes[:, 2:] - clear.boxes[:, :2]).astype(np.float64)
        sides += (np.sqrt(lengths.prod(axis=1)) / min(size)).tolist()
    numbers = np.bincount(np.array(labels, np.int64), minlength=len(dataset.class_names)).tolist()
    return Counts(images, dict(zip(dataset.class_names, numbers, strict=True)), np.array(sides), faults)


def choose(counts: Counts, overrides: Sequence[str] = ()) -> Choice:
    """Settings with which the default trunk learns these objects in minutes on an ordinary computer.

    overrides: the user's own settings, which are not in the result; layers are tuned where they ask for it, and a scale
    of theirs is the only one.
    Raises ValueError where there is no object.
    """
    if not counts.total:
        raise ValueError("there is no object to learn from")
    middle = float(np.median(counts.sides))
    scale = min(SCALES, key=lambda scale: abs(np.log(scale * middle / AIM)))
    few = counts.total <= FEW_OBJECTS and counts.learnt <= FEW_CLASSES
    pooled = few and not _asks_for_layers(overrides)
    looks = () if any(parse_setting(text)[0] == "maps.scales" for text in overrides) else (scale, round(FINER * scale))
    table, why = _pooled(counts, looks) if pooled else _tuned(counts, few)
    said = (
        "trunk: EfficientNet-Lite0, as ImageNet taught it",
        f"image size: {scale} px, the shorter side; the median object is {middle:.2f} of it",
        *why,
    )
    return Choice({"maps": {"scales": [scale]}, **table, "evaluate": {"method": "area"}}, said)


def _asks_for_layers(overrides: Sequence[str]) -> bool:
    """Whether settings of the user's own make sense with fine-tuned layers only."""
    settings = [parse_setting(text) for text in overrides]
    tuned = any(key.startswith("finetune.") and (key, value) != ("finetune.iterations", 0) for key, value in settings)
    return tuned or any(key == "svm.layer" and value != "pool5" for key, value in settings)


def _pooled(counts: Counts, looks: Sequence[int]) -> tuple[dict[str, Any], list[str]]:
    """Tables, and lines: SVMs on pooled vectors; layers that start at random learn too little of so few objects.

    looks: px, the scales of detection; none for those of training.
    """
    of_one_class = counts.total / counts.learnt
    flip = of_one_class <= RARE
    weight = round(float(np.clip(AS_MANY / (2 * of_one_class if flip else of_one_class), *COUNTS)), 1)
    tables = {
        "finetune": {"iterations": 0, "hidden": [8, 8]},  # the layers are there, and nobody reads them
        "svm": {"layer": "pool5", "positive_weight": weight, "standardise": True, "flip": flip},
        "detect": {"scales": list(looks), "nms_overlap": APART, "vote": True},
    }
    objects = f"{counts.total:,} objects of {_of_classes(counts.learnt)}"
    why = [
        f"fc6, fc7: none, the SVMs read pooled vectors, standardised; for {objects}, each counting {weight:g} times",
        f"mirrored images: {'learnt from too' if flip else 'not learnt from'}; {of_one_class:,.0f} objects a class",
        "boxes: moved by votes",
    ]
    if looks:
        why.append(f"detection: at {looks[0]} and {looks[1]} px, since the finer image shows more of small objects")
    return tables, why


def _tuned(counts: Counts, few: bool) -> tuple[dict[str, Any], list[str]]:
    """Tables, and lines: SVMs on fine-tuned layers."""
    wide, flip = 512 if few else 1024, counts.images <= FEW_IMAGES
    iterations = int(np.clip(round(50 * counts.total**0.5, -2), 300, 6000))
    fast = iterations * 7 // 10
    rates = [[fast, 0.001], [iterations - fast, 0.0001]]
    tables = {"finetune": {"iterations": iterations, "rates": rates, "hidden": [wide, wide], "flip": flip}}
    objects = f"{counts.total:,} objects of {_of_classes(counts.learnt)}"
    why = [
        f"fine-tuning: {iterations:,} iterations, for {counts.total:,} objects",
        f"fc6, fc7: {wide:,} numbers each, for {objects}",
        f"mirrored images: {'learnt from too' if flip else 'not learnt from'}, with {counts.images:,} images",
    ]
    return tables, why


@dataclass(frozen=True)
class Plan:
    """A training that was chosen. said: for the user, in lines."""

    config: Config
    said: tuple[str, ...]

    def write(self, path: Path) -> bool:
        """Write the configuration as a TOML file with these lines, unless another one is there: then False."""
        head = "".join(f"# {line}\n" for line in ("Chosen by spp-det train --data.", *self.said))
        content = f"{head}\n{config_to_toml(self.config)}".encode()
        if path.exists() and path.read_bytes() != content:
            return False
        write_whole(path, content)
        return True


def plan_training(data: str | PathLike[str], overrides: Sequence[str] = ()) -> Plan:
    """Recognise a data set and choose a configuration that trains on it.

    overrides: settings that are not chosen, as `load_config` takes them. Raises DataError for what is no data set or
    has no object to learn from, ConfigError for an override that cannot be taken.
    """
    found = recognise(data)
    source = f"the configuration chosen for {data}"
    table: dict[str, Any] = {"data": config_to_dict(found.data_config())}
    first = config_from(table, source, overrides)
    dataset = open_dataset(first.data, first.data.train)
    said = [*found.said]
    if len(dataset) > MOST_IMAGES and first.data.max_images is None:
        said.append(f"{MOST_IMAGES:,} of its {len(dataset):,} images are used; data.max_images takes more")
        table["data"]["max_images"] = MOST_IMAGES
        first = config_from(table, source, overrides)
        dataset = open_dataset(first.data, first.data.train)
    counts = count_objects(dataset)
    try:
        choice = choose(counts, overrides)
    except ValueError as fault:
        raise DataError(data, f"{fault} in the {len(dataset)} images of {first.data.train}") from None
    config = config_from({**table, **choice.settings}, source, overrides)
    return Plan(config, (*said, *_told(found, config, counts), *choice.why))


def _told(found: Recognised, config: Config, counts: Counts) -> list[str]:
    """What is trained and tested on, in lines."""
    split, test = config.data.train, config.data.test
    lines = [f"to train on: {counts.images:,} images of {split}, {counts.total:,} objects"]
    if split.endswith(":learn"):
        lines.append(f"to test on: a fifth of the images, held out ({test}), since there is no other split")
    else:
        lines.append(f"to test on: {test}")
    few = [f"{name} {number}" for name, number in counts.objects.items() if number < SCARCE]
    if few and found.format != "ilsvrc_det":
        lines.append(f"fewer than {SCARCE} objects: {', '.join(few)}")
    return lines


def _of_classes(number: int) -> str:
    return "1 class" if number == 1 else f"{number} classes"
