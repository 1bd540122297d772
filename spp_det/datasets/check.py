"""Is a data set whole, and what is in it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from spp_det.datasets.base import Progress
from spp_det.datasets.voc import VOCDataset, split_names, voc_folder
from spp_det.datasets.voc_annotations import read_stated_size
from spp_det.errors import DataError
from spp_det.structures import Size, Target

Counts = npt.NDArray[np.int64]  # [K], one number a class


@dataclass
class SplitReport:
    """What a split holds, class by class, and what is wrong with it.

    images: images with an object of the class that is not difficult; objects: those objects; difficult: the others.
    """

    split: str
    class_names: tuple[str, ...]
    total: int  # images in all
    images: Counts = field(init=False)
    objects: Counts = field(init=False)
    difficult: Counts = field(init=False)
    faults: list[DataError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images, self.objects, self.difficult = (np.zeros(len(self.class_names), np.int64) for _ in range(3))

    def count(self, target: Target) -> None:
        """Add one image's objects."""
        number = len(self.class_names)
        clear = np.bincount(target.labels[~target.difficult], minlength=number)
        self.images += clear > 0
        self.objects += clear
        self.difficult += np.bincount(target.labels[target.difficult], minlength=number)

    def to_dict(self) -> dict[str, Any]:
        """The counts and the faults as JSON has them."""
        counts = zip(self.images.tolist(), self.objects.tolist(), self.difficult.tolist(), strict=True)
        keys = ("images", "objects", "difficult")
        by_class = {name: dict(zip(keys, row, strict=True)) for name, row in zip(self.class_names, counts, strict=True)}
        faults = [str(fault) for fault in self.faults]
        return {"split": self.split, "images": self.total, "classes": by_class, "faults": faults}

    def show(self, console: Console) -> None:
        """Print the table, and a line for each fault."""
        console.print(self.table())
        for fault in self.faults:
            console.print(str(fault), style="red", markup=False, soft_wrap=True)

    def table(self) -> Table:
        """The counts, a row a class."""
        bad = f", {len(self.faults)} faults" if self.faults else ""
        title, caption = f"{self.split}: {self.total} images{bad}", "images: with an object that is not difficult"
        table = Table("class", title=title, caption=caption, show_footer=True)
        for name in ("images", "objects", "difficult"):
            total = self.total if name == "images" else int(getattr(self, name).sum())
            table.add_column(name, footer=str(total), justify="right")
        table.columns[0].footer = "all"
        for row in zip(self.class_names, self.images, self.objects, self.difficult, strict=True):
            table.add_row(*map(str, row))
        return table


def check_dataset(
    root: str | PathLike[str],
    year: str,
    splits: Sequence[str],
    classes: Sequence[str],
    progress: Progress,
) -> list[SplitReport]:
    """Decode every image and read every annotation of the splits (none named: the usual ones that are there).

    A broken file becomes one of its split's faults, and the check goes on. Raises DataError for a missing folder or
    split.
    """
    names = tuple(splits) or usual_splits(root, year)
    return [check_split(VOCDataset(root, year, name, classes), progress) for name in names]


def usual_splits(root: str | PathLike[str], year: str) -> tuple[str, ...]:
    """The splits to look at where none is named: trainval and test, or else all that are there."""
    folder = voc_folder(root, year)
    found = split_names(folder)
    if not found:
        raise DataError(folder / "ImageSets" / "Main", "holds no split, a file such as trainval.txt")
    return tuple(name for name in ("trainval", "test") if name in found) or found


def check_split(dataset: VOCDataset, progress: Progress) -> SplitReport:
    """Check and count the images of one split."""
    report = SplitReport(dataset.split, dataset.class_names, len(dataset))
    for image_id in progress(dataset.ids, f"checking {dataset.split}"):
        stated = None
        try:
            report.count(dataset.target(image_id))
            stated = read_stated_size(dataset.annotation_path(image_id))
        except DataError as fault:
            report.faults.append(fault)
        try:
            _check_image(dataset, image_id, stated)
        except DataError as fault:
            report.faults.append(fault)
    return report


def _check_image(dataset: VOCDataset, image_id: str, stated: Size | None) -> None:
    """Raise DataError for an image that cannot be read, or of another size than its annotation states."""
    height, width = dataset.image(image_id).shape[:2]
    if stated is not None and stated != (height, width):
        fault = f"states {stated[1]} x {stated[0]} pixels, but its image has {width} x {height}"
        raise DataError(dataset.annotation_path(image_id), fault)
