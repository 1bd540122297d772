"""ILSVRC DET: 200 classes, a training set with positives only, a validation set split in two (section 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.datasets.ilsvrc_halves import halves
from spp_det.datasets.image_files import find_image
from spp_det.datasets.voc_annotations import read_annotation
from spp_det.errors import DataError
from spp_det.images import image_size, read_image
from spp_det.places import as_path
from spp_det.structures import Image, Size, Target

CLASS_LIST = Path("devkit/data/map_det.txt")


class ILSVRCDetection:
    """The images of one split, or of several joined by "+", such as "val1+train".

    The layout is that of the challenge's archives since 2015: Annotations/DET, Data/DET and ImageSets/DET, each with
    `train` and `val`, and devkit/data/map_det.txt with the classes. An id is an image's path below Data/DET without
    its suffix.

    train: the images that ImageSets/DET/train_{n}.txt call positive (1) for a class. Not every object in them is
    marked, so that they give their ground truth and nothing else: no negatives, no proposals, no box regression.
    val: ImageSets/DET/val.txt, where all objects are marked. val1, val2: ImageSets/DET/val1.txt and val2.txt if they
    are there, else the halves of val that `ilsvrc_halves.halves` makes, which are always the same.

    Args:
        root: the folder ILSVRC, or the one that holds it.
        split: train, val, val1, val2, or several of them with "+".
        classes: names from map_det.txt to keep, in this order; objects of others are left out. None: all.
        first_pixel: the coordinate of the first pixel in the annotations, 0 or 1.

    Attributes:
        class_names: the K names; synsets: their WordNet ids, which the annotations use.
        ids: the images' ids.
        positives_only: those of `ids` that come from train.

    Raises:
        DataError: for a file, split or class that is missing; an image that is in two of the splits.

    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: str = "val1+train",
        classes: Sequence[str] | None = None,
        first_pixel: int = 0,
    ) -> None:
        self.folder = ilsvrc_folder(root)
        self.split = split
        self.first_pixel = first_pixel
        known = read_classes(self.folder)
        names = tuple(known.values()) if classes is None else tuple(classes)
        synset_of = {name: synset for synset, name in known.items()}
        for name in names:
            if name not in synset_of:
                raise DataError(self.folder / CLASS_LIST, f"has no class {name!r}")
        self.class_names = names
        self.synsets = tuple(synset_of[name] for name in names)
        self.others = tuple(synset for synset in known if synset not in self.synsets)
        parts = {part: self._ids(part) for part in split.split("+")}
        self.ids = tuple(image_id for part in parts.values() for image_id in part)
        if len(set(self.ids)) < len(self.ids):
            raise DataError(self.folder / "ImageSets" / "DET", f'an image is in two of the splits of "{split}"')
        self.positives_only = frozenset(parts.get("train", ()))

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, image_id: str) -> Path:
        """Where the image lies. Raises DataError where no file of its name is there."""
        return find_image(self.folder / "Data" / "DET" / image_id)

    def annotation_path(self, image_id: str) -> Path:
        """Where the annotation lies, or should lie."""
        return self.folder / "Annotations" / "DET" / f"{image_id}.xml"

    def image(self, image_id: str) -> Image:
        """The image: uint8 [H, W, 3], RGB, upright. Raises DataError where it cannot be read."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> Size:
        """(height, width) of the image, from its header alone. Raises DataError where it cannot be read."""
        return image_size(self.image_path(image_id))

    def target(self, image_id: str) -> Target:
        """What is in the image, no object of it difficult. Raises DataError as `read_annotation` does."""
        target = self._all_objects(image_id)
        return target[target.labels < len(self.synsets)]

    def target_basis(self) -> list[Any]:
        """What the targets follow from besides the files; see `base.target_basis`."""
        return [list(self.synsets), list(self.others), self.first_pixel]

    def _all_objects(self, image_id: str) -> Target:
        """The objects of the classes that are kept, then of the others."""
        path, size = self.annotation_path(image_id), partial(self.size, image_id)
        return read_annotation(path, self.synsets + self.others, size, self.first_pixel, slack=1)

    def _counts(self, image_id: str) -> npt.NDArray[np.int64]:
        """How many objects of each class are in the image, int64 [all classes]; none where its annotation is broken."""
        try:
            labels = self._all_objects(image_id).labels
        except DataError:  # to be told, or skipped, where the image is used
            labels = np.zeros(0, np.int64)
        return np.bincount(labels, minlength=len(self.synsets) + len(self.others))

    def _ids(self, part: str) -> tuple[str, ...]:
        lists = self.folder / "ImageSets" / "DET"
        if part == "train":
            return self._train_ids(lists)
        if part == "val" or (lists / f"{part}.txt").is_file():
            return tuple(f"val/{words[0]}" for words in _read_lines(lists / f"{part}.txt"))
        if part not in ("val1", "val2"):
            raise DataError(lists / f"{part}.txt", "there is no such split; there are train, val, val1 and val2")
        ids = self._ids("val")
        in_first = halves(np.stack([self._counts(image_id) for image_id in ids]))
        return tuple(i for i, first in zip(ids, in_first, strict=True) if first == (part == "val1"))

    def _train_ids(self, lists: Path) -> tuple[str, ...]:
        files = sorted(lists.glob("train_*.txt"), key=lambda path: (len(path.name), path.name))
        if not files:
            raise DataError(
                lists, "holds no train_1.txt .. train_200.txt, which name the positive images of each class"
            )
        positive: dict[str, None] = {}  # an image may be positive for several classes
        for path in files:
            for words in _read_lines(path):
                if len(words) != 2 or words[1] not in ("1", "0", "-1"):
                    raise DataError(path, f"has the line {' '.join(words)!r}, not an image and 1, 0 or -1")
                if words[1] == "1":
                    positive[f"train/{words[0]}"] = None
        return tuple(positive)


def ilsvrc_folder(root: str | PathLike[str]) -> Path:
    """The folder with Annotations/DET, Data/DET and ImageSets/DET: root/ILSVRC, or root itself."""
    root = as_path(root)
    if not root.is_dir():
        raise DataError(root, "there is no such folder")
    folder = root / "ILSVRC" if (root / "ILSVRC").is_dir() else root
    for name in ("Annotations", "Data", "ImageSets"):
        if not (folder / name / "DET").is_dir():
            raise DataError(folder, f"lacks the folder {name}/DET of the ILSVRC archives")
    return folder


def read_classes(folder: Path) -> dict[str, str]:
    """Names by WordNet id, in the order of devkit/data/map_det.txt: lines of an id, a number and a name."""
    beside = folder.parent / CLASS_LIST  # the archive unpacked there
    path = beside if beside.is_file() and not (folder / CLASS_LIST).is_file() else folder / CLASS_LIST
    classes: dict[str, str] = {}
    for words in _read_lines(path):
        if len(words) < 3 or words[0] in classes or " ".join(words[2:]) in classes.values():
            raise DataError(path, f"has the line {' '.join(words)!r}, not a new WordNet id, a number and a new name")
        classes[words[0]] = " ".join(words[2:])
    return classes


def _read_lines(path: Path) -> list[list[str]]:
    """The words of every line that has some. Raises DataError where the file is missing, no text, or empty."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataError(path, "there is no such file") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(path, f"cannot be read ({fault})") from None
    if not lines:
        raise DataError(path, "is empty")
    return lines
