"""Is a data set whole, what is in it, and what looks odd?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from spp_det.boxes import iou
from spp_det.datasets.base import Dataset, Progress, loose_faults, stated_size
from spp_det.datasets.recognise import recognise
from spp_det.errors import DataError
from spp_det.structures import Size, Target
from spp_det.tooling import counted

Counts = npt.NDArray[np.int64]  # [K], one number a class

SMALLEST = 5.0  # px: a box with a shorter side looks odd
NARROWEST = 15.0  # times as long as wide
WHOLE = 0.99  # of the image
SAME = 0.95  # IoU of two boxes that may be one object, marked twice
SHOWN = 20  # odd boxes in the printed report


@dataclass
class SplitReport:
    """What a split holds, class by class, and what is wrong with it.

    images: images with an object of the class that is not difficult; objects: those objects; difficult: the others.
    odd: (image id, what) of boxes that may be mistakes; sizes: (height, width) of each image that can be read; sides:
    the square root of each object's area, px.
    """

    split: str
    class_names: tuple[str, ...]
    total: int  # images in all
    images: Counts = field(init=False)
    objects: Counts = field(init=False)
    difficult: Counts = field(init=False)
    faults: list[DataError] = field(default_factory=list)
    odd: list[tuple[str, str]] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    sides: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images, self.objects, self.difficult = (np.zeros(len(self.class_names), np.int64) for _ in range(3))

    def count(self, target: Target) -> None:
        """Add one image's objects."""
        number = len(self.class_names)
        clear = np.bincount(target.labels[~target.difficult], minlength=number)
        self.images += clear > 0
        self.objects += clear
        self.difficult += np.bincount(target.labels[target.difficult], minlength=number)
        lengths = target.boxes[:, 2:] - target.boxes[:, :2]
        self.sides += np.sqrt(lengths.prod(axis=1, dtype=np.float64)).tolist()

    def fault(self, fault: DataError) -> None:
        """Add a fault, once."""
        if str(fault) not in map(str, self.faults[-2:]):
            self.faults.append(fault)

    @property
    def empty_classes(self) -> list[str]:
        """The classes without an object that is not difficult."""
        return [name for name, count in zip(self.class_names, self.objects, strict=True) if not count]

    def to_dict(self) -> dict[str, Any]:
        """The counts, faults and odd boxes as JSON has them."""
        counts = zip(self.images.tolist(), self.objects.tolist(), self.difficult.tolist(), strict=True)
        keys = ("images", "objects", "difficult")
        by_class = {name: dict(zip(keys, row, strict=True)) for name, row in zip(self.class_names, counts, strict=True)}
        return {
            "split": self.split,
            "images": self.total,
            "classes": by_class,
            "faults": [str(fault) for fault in self.faults],
            "odd": [{"image": image_id, "what": what} for image_id, what in self.odd],
        }

    def show(self, console: Console) -> None:
        """Print the table, sizes, odd boxes, and a line for each fault."""
        console.print(self.table())
        for line in self.remarks():
            console.print(line, markup=False, soft_wrap=True)
        for image_id, what in self.odd[:SHOWN]:
            console.print(f"look at {image_id}: {what}", style="yellow", markup=False, soft_wrap=True)
        if len(self.odd) > SHOWN:
            console.print(f"and {len(self.odd) - SHOWN} more odd boxes", style="yellow")
        for fault in self.faults:
            console.print(str(fault), style="red", markup=False, soft_wrap=True)

    def remarks(self) -> list[str]:
        """What the table does not say, in lines."""
        lines = []
        if self.sizes:
            heights, widths = zip(*self.sizes, strict=True)
            lines.append(f"images: {_range(widths)} px wide, {_range(heights)} px high")
        if self.sides:
            lines.append(f"objects: {_range(self.sides)} px (the square root of their area)")
        if self.empty_classes:
            lines.append(f"without an object: {', '.join(self.empty_classes)}")
        return lines

    def table(self) -> Table:
        """The counts, a row a class."""
        bad = f", {counted(len(self.faults), 'fault')}" if self.faults else ""
        title, caption = (
            f"{self.split}: {counted(self.total, 'image')}{bad}",
            "images: with an object that is not difficult",
        )
        table = Table("class", title=title, caption=caption, show_footer=True)
        for name in ("images", "objects", "difficult"):
            total = self.total if name == "images" else int(getattr(self, name).sum())
            table.add_column(name, footer=str(total), justify="right")
        table.columns[0].footer = "all"
        for row in zip(self.class_names, self.images, self.objects, self.difficult, strict=True):
            table.add_row(*map(str, row))
        return table


def _range(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, [0, 0.5, 1]).round().astype(int)
    return f"{low}" if low == high else f"{low} to {high} (median {middle})"


def check_dataset(
    root: str | PathLike[str],
    year: str | None = None,
    splits: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    progress: Progress = lambda ids, _: ids,
    format: str | None = None,
) -> list[SplitReport]:
    """Decode every image and read every annotation of the splits (none named: those to train and to test on).

    year, classes, format: see `recognise`. A broken file becomes one of its split's faults, and the check goes on.
    Raises DataError for a missing folder or split, and where the form is not recognised.
    """
    found = recognise(root, format, year, classes)
    return [check_split(found.dataset(name), name, progress) for name in tuple(splits) or found.usual_splits]


def check_split(dataset: Dataset, name: str, progress: Progress = lambda ids, _: ids) -> SplitReport:
    """Check and count the images of one split, under a name."""
    report = SplitReport(name, dataset.class_names, len(dataset))
    for fault in loose_faults(dataset).values():
        report.fault(fault)
    for image_id in progress(dataset.ids, f"checking {name}"):
        target = stated = None
        try:
            target = dataset.target(image_id)
            report.count(target)
            stated = stated_size(dataset, image_id)
        except DataError as fault:
            report.fault(fault)
        try:
            size = _checked_size(dataset, image_id, stated)
            report.sizes.append(size)
            if target is not None:
                report.odd += [(image_id, what) for what in odd_boxes(target, dataset.class_names, size)]
        except DataError as fault:
            report.fault(fault)
    return report


def _checked_size(dataset: Dataset, image_id: str, stated: Size | None) -> Size:
    """(height, width). Raises DataError for an image that cannot be read, or of another size than is stated."""
    height, width = dataset.image(image_id).shape[:2]
    if stated is not None and stated != (height, width):
        fault = f"states {stated[1]} x {stated[0]} pixels, but its image has {width} x {height}"
        path = dataset.annotation_path(image_id) if hasattr(dataset, "annotation_path") else image_id
        raise DataError(path, fault)
    return height, width


def odd_boxes(target: Target, class_names: Sequence[str], size: Size) -> list[str]:
    """What may be a mistake among the objects of an image of `size`: too small, too narrow, the whole image, twice."""
    said = []
    lengths = (target.boxes[:, 2:] - target.boxes[:, :2]).astype(np.float64)
    for (width, height), label in zip(lengths.tolist(), target.labels, strict=True):
        what = f"{class_names[label]} of {width:.0f} x {height:.0f} px"
        short, long = sorted((width, height))
        if short < SMALLEST:
            said.append(f"{what} is very small")
        elif long > NARROWEST * short:
            said.append(f"{what} is very narrow")
        elif width * height >= WHOLE * size[0] * size[1]:
            said.append(f"{what} is the whole image")
    for first, second in np.argwhere(np.triu(iou(target.boxes, target.boxes) >= SAME, 1)):
        names = class_names[target.labels[first]], class_names[target.labels[second]]
        said.append(f"{names[0]} is there twice" if names[0] == names[1] else f"{names[0]} and {names[1]} are one box")
    return said
