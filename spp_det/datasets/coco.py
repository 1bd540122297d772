"""COCO's instances files as a data set: the official ones, or a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from spp_det.datasets.coco_table import CocoTable, parse_table, read_table
from spp_det.datasets.objects import fit_box, make_target
from spp_det.errors import DataError
from spp_det.images import image_size, read_image
from spp_det.places import as_path
from spp_det.structures import Boxes, Image, Size, Target


class CocoDataset:
    """The images of one instances file, and what is in them.

    A box [x, y, width, height], from 0, becomes (x, y, x + width, y + height). An object with iscrowd = 1 is difficult
    in the Target: no positive, and not asked for; `crowds` gives its box, in which training takes no negatives.

    Args:
        root: the data set's folder.
        split: the name of an annotation file, see `find_annotations`, or its path below root, ending in .json.
        classes: names of categories to keep, in this order; objects of others are left out. None: all.
        images: the images' folder, below root; None: where the first image of the file is found.

    Attributes:
        class_names: the K names; category_ids: their numbers in the file.
        ids: the images' file names, in the order of their numbers.
        faults: what is wrong with the file and belongs to no image, by name.

    Raises:
        DataError: for a folder, file or category that is missing, or a file that is not of this form.

    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: str = "train",
        classes: Sequence[str] | None = None,
        images: str | None = None,
    ) -> None:
        root = as_path(root)
        table = read_table(find_annotations(root, split))
        folder = root / images if images is not None else find_folder(root, split, table)
        self._take(table, folder, classes)

    @classmethod
    def from_content(
        cls,
        content: Mapping[str, Any],
        folder: str | PathLike[str],
        path: str | PathLike[str] = "annotations",
        classes: Sequence[str] | None = None,
    ) -> CocoDataset:
        """The data set of a file's content that is in memory already; `path` stands for the file in messages."""
        dataset = cls.__new__(cls)
        dataset._take(parse_table(content, Path(path)), Path(folder), classes)
        return dataset

    def _take(self, table: CocoTable, folder: Path, classes: Sequence[str] | None) -> None:
        numbers = {name: number for number, name in table.categories.items()}
        self.class_names = tuple(numbers if classes is None else classes)
        for name in self.class_names:
            if name not in numbers:
                raise DataError(table.path, f"has no category {name!r}; it has {', '.join(numbers)}")
        self.category_ids = tuple(numbers[name] for name in self.class_names)
        self._labels = {number: label for label, number in enumerate(self.category_ids)}
        self.table, self.folder = table, folder
        self.ids = tuple(table.images)
        self.faults = table.loose

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, image_id: str) -> Path:
        """Where the image lies. Raises DataError where its entry is faulty."""
        if image_id in self.table.faults:
            raise self.table.faults[image_id]
        return self.folder / image_id

    def image(self, image_id: str) -> Image:
        """The image: uint8 [H, W, 3], RGB, upright. Raises DataError where it cannot be read."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> Size:
        """(height, width) of the image, from its header alone. Raises DataError where it cannot be read."""
        return image_size(self.image_path(image_id))

    def stated_size(self, image_id: str) -> Size | None:
        """The size as the file has it, or None where it does not say."""
        entry = self.table.images[image_id]
        height, width = entry.get("height"), entry.get("width")
        return (height, width) if isinstance(height, int) and isinstance(width, int) and height * width > 0 else None

    def target(self, image_id: str) -> Target:
        """What is in the image.

        Raises DataError for a fault of its entry, an object of an unknown category, or a box that is no box, empty,
        swapped or outside its image.
        """
        if image_id in self.table.faults:
            raise self.table.faults[image_id]
        kept = self._kept(image_id)
        size = (self.stated_size(image_id) or self.size(image_id)) if kept else (1, 1)
        boxes = [self._box(entry, image_id, size) for entry in kept]
        return make_target(boxes, [self._labels[e["category_id"]] for e in kept], [_is_crowd(e) for e in kept])

    def crowds(self, image_id: str) -> Boxes:
        """The boxes of the objects with iscrowd = 1: float32 [N, 4]."""
        target = self.target(image_id)
        return target.boxes[target.difficult]

    def areas(self, image_id: str) -> npt.NDArray[np.float64]:
        """px of each object, as the file has it, else of its box: float64 [N]."""
        kept = self._kept(image_id)
        areas = [e["area"] if _is_real(e.get("area")) else e["bbox"][2] * e["bbox"][3] for e in kept]
        return np.array(areas, np.float64)

    def _kept(self, image_id: str) -> list[dict[str, Any]]:
        """The annotations of the classes that are kept. Raises DataError for one of no category of the file."""
        entries = self.table.objects[image_id]
        for entry in entries:
            category = entry.get("category_id")
            if not isinstance(category, int) or category not in self.table.categories:
                self._refuse(entry, image_id, f"is of the category {category!r}, which is not there")
        return [entry for entry in entries if entry["category_id"] in self._labels]

    def _box(self, entry: Mapping[str, Any], image_id: str, size: Size) -> Boxes:
        numbers = entry.get("bbox")
        if not isinstance(numbers, Sequence) or len(numbers) != 4 or not all(_is_real(value) for value in numbers):
            self._refuse(entry, image_id, f"has the bbox {numbers!r}, not four numbers")
        x, y, width, height = numbers
        try:
            return fit_box((x, y, x + width, y + height), size)
        except ValueError as fault:
            self._refuse(entry, image_id, f"its box [{x:g}, {y:g}, {width:g}, {height:g}] {fault}")

    def _refuse(self, entry: Mapping[str, Any], image_id: str, text: str) -> NoReturn:
        raise DataError(self.table.path, f"image {image_id}: annotation {entry.get('id')} {text}")


def _is_crowd(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("iscrowd", 0))


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def annotation_files(root: Path) -> dict[str, Path]:
    """The instances files of a folder by split, sorted: where COCO, labelling programs and exporters put them.

    annotations/instances_NAME.json, annotations/NAME.json, NAME/_annotations.coco.json, NAME/annotations.json, and
    NAME.json in the folder itself, `instances_` left out likewise; not those of captions, keypoints and the like.
    """
    found: dict[str, Path] = {}
    nested = [*root.glob("*/_annotations.coco.json"), *root.glob("*/annotations.json")]
    for path in nested:
        found.setdefault(path.parent.name, path)
    for path in sorted([*root.glob("annotations/*.json"), *root.glob("*.json")]):
        name = path.stem.removeprefix("instances_")
        if not name.startswith(("captions_", "person_keypoints_", "image_info_", "stuff_", "panoptic_")):
            found.setdefault(name, path)
    return dict(sorted(found.items()))


def find_annotations(root: Path, split: str) -> Path:
    """The file of a split. Raises DataError that names those that are there."""
    if not root.is_dir():
        raise DataError(root, "there is no such folder")
    if split.endswith(".json"):
        return root / split
    files = annotation_files(root)
    if split not in files:
        raise DataError(root, f"has no annotations of the split {split}; there are: {', '.join(files) or 'none'}")
    return files[split]


def find_folder(root: Path, split: str, table: CocoTable) -> Path:
    """Where the images of a file lie: the first usual folder that holds the first of them that is in any."""
    name = Path(split).stem.removeprefix("instances_")
    beside = table.path.parent
    folders = [root / name, root / "images" / name, root / "images", root / "data", root, beside, beside / "images"]
    for image_id in table.images:
        if image_id in table.faults:
            continue
        for folder in folders:
            if (folder / image_id).is_file():
                return folder
    tried = ", ".join(dict.fromkeys(str(folder) for folder in folders))
    raise DataError(table.path, f"none of its images, such as {next(iter(table.images))}, is in {tried}")
