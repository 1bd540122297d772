"""Data sets that another library has read, or that are in memory: torchvision's, and lists of (image, target)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.datasets.base import Dataset
from spp_det.datasets.coco import CocoDataset
from spp_det.datasets.image_files import IMAGE_ENDINGS, is_image_name, repeated
from spp_det.datasets.objects import fit_box, make_target
from spp_det.datasets.voc import VOC_CLASSES
from spp_det.datasets.voc_annotations import read_annotation, read_stated_size
from spp_det.errors import DataError
from spp_det.images import image_size, read_image
from spp_det.structures import Image, Size, Target, check_image


def as_dataset(source: Any, classes: Sequence[str] | None = None) -> Dataset:
    """A data set of what holds one: a Dataset itself, torchvision's VOCDetection or CocoDetection, or (image, target)s.

    classes: the names of the labels; of torchvision's, those to keep. Transforms of torchvision's data sets are not
    applied: their files are read. Raises TypeError for anything else, and what the data sets below raise.
    """
    if isinstance(source, Dataset):
        return source
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(source).__mro__}
    if "torchvision.VOCDetection" in kinds:
        return VOCFiles(source.images, source.annotations, VOC_CLASSES if classes is None else classes)
    if "torchvision.CocoDetection" in kinds:
        return CocoDataset.from_content(source.coco.dataset, source.root, "annotations", classes)
    if isinstance(source, Iterable) and not isinstance(source, (str, bytes, Mapping, np.ndarray)):
        return PairsDataset(source, classes)
    raise TypeError(f"{type(source).__name__} is no data set: give a Dataset, torchvision's or (image, target) pairs")


class VOCFiles:
    """Images and VOC annotations by their paths, wherever they lie; the ids are the images' names without endings.

    images, annotations: paths, in the same order; classes: the K class names. Two images of one name have their paths
    as ids, and both are faulty; `faults` names those that are there twice.
    """

    def __init__(
        self,
        images: Sequence[str | PathLike[str]],
        annotations: Sequence[str | PathLike[str]],
        classes: Sequence[str] = VOC_CLASSES,
    ) -> None:
        self.class_names = tuple(classes)
        files = dict(zip(map(Path, images), map(Path, annotations), strict=True))
        twice = repeated(str(path) for path in images)
        self.faults = {path: DataError(path, "is there twice") for path in sorted(twice)}
        shared = repeated(path.stem for path in files)
        self._images = {str(path) if path.stem in shared else path.stem: path for path in files}
        self._annotations = dict(zip(self._images, files.values(), strict=True))
        self.ids = tuple(self._images)

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, image_id: str) -> Path:
        """Where the image lies. Raises DataError for an unknown extension, and where another image has its name."""
        path = _known(self._images[image_id])
        if image_id != path.stem:
            raise DataError(path, "is one of two images of one name")
        return path

    def annotation_path(self, image_id: str) -> Path:
        """Where the annotation lies."""
        return self._annotations[image_id]

    def image(self, image_id: str) -> Image:
        """The image: uint8 [H, W, 3], RGB, upright. Raises DataError where it cannot be read."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> Size:
        """(height, width) of the image, from its header alone. Raises DataError where it cannot be read."""
        return image_size(self.image_path(image_id))

    def stated_size(self, image_id: str) -> Size | None:
        """The size as the annotation has it, or None where it does not say."""
        return read_stated_size(self.annotation_path(image_id))

    def target(self, image_id: str) -> Target:
        """What is in the image. Raises DataError as `read_annotation` does."""
        return read_annotation(self.annotation_path(image_id), self.class_names, lambda: self.size(image_id))

    def target_basis(self) -> list[Any]:
        """What the targets follow from besides the files; see `base.target_basis`."""
        return list(self.class_names)


class PairsDataset:
    """(image, target) pairs as a data set; the ids are "000000", "000001" .. in their order.

    image: a file's path, uint8 [H, W, 3] in RGB, or a Pillow image. target: a Target, or a table as torchvision's
    detectors take it: boxes [N, 4] of (x1, y1, x2, y2) in px, labels [N] from 0, and maybe difficult or iscrowd [N].
    classes: names of the labels; None: "class 0", "class 1" .., as many as there are labels.

    Raises ValueError for what is no pair of these, and where there is none. A box that is empty, swapped or outside its
    image, a label without a name, an unknown extension, or a file that is in two pairs, is a DataError of its image.
    """

    def __init__(self, pairs: Iterable[Any], classes: Sequence[str] | None = None) -> None:
        self._images: dict[str, Any] = {}
        self._tables: dict[str, dict[str, np.ndarray]] = {}
        for number, pair in enumerate(pairs):
            image_id = f"{number:06d}"
            self._images[image_id], self._tables[image_id] = _parse_pair(pair, number)
        if not self._images:
            raise ValueError("there is no (image, target) pair")
        self._twice = repeated(str(image) for image in self._images.values() if isinstance(image, Path))
        largest = max((int(table["labels"].max(initial=-1)) for table in self._tables.values()), default=-1)
        names = [f"class {label}" for label in range(largest + 1)] if classes is None else classes
        self.class_names = tuple(names)
        self.ids = tuple(self._images)

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, image_id: str) -> Path:
        """The file, where the image is one.

        Raises DataError where it is in memory, has an unknown extension, or is another pair's, too.
        """
        path = self._images[image_id]
        if not isinstance(path, Path):
            raise DataError(image_id, "is in memory, not in a file")
        if str(path) in self._twice:
            raise DataError(path, f"is the image of pair {int(image_id)} and of another one: an image is there once")
        return _known(path)

    def image(self, image_id: str) -> Image:
        """uint8 [H, W, 3], RGB, upright. Raises DataError where its file cannot be read."""
        image = self._images[image_id]
        return read_image(self.image_path(image_id)) if isinstance(image, Path) else image

    def size(self, image_id: str) -> Size:
        """(height, width). Raises DataError where its file cannot be read."""
        image = self._images[image_id]
        return image_size(self.image_path(image_id)) if isinstance(image, Path) else image.shape[:2]

    def digest(self, image_id: str) -> str:
        """SHA-256 of the file, or of the pixels and their shape. Raises DataError where the file cannot be read."""
        image = self._images[image_id]
        try:
            content = image.read_bytes() if isinstance(image, Path) else str(image.shape).encode() + image.tobytes()
        except OSError as fault:
            raise DataError(image, fault.strerror or str(fault)) from None
        return hashlib.sha256(content).hexdigest()

    def target(self, image_id: str) -> Target:
        """What is in the image. Raises DataError for a box or a label that cannot be used."""
        table, size = self._tables[image_id], self.size(image_id)
        try:
            boxes = [fit_box(box, size) for box in table["boxes"].tolist()]
        except ValueError as fault:
            raise DataError(self._name(image_id), f"one of its boxes {fault}") from None
        labels = table["labels"]
        wrong = labels[(labels < 0) | (labels >= len(self.class_names))]
        if len(wrong):
            raise DataError(self._name(image_id), f"has the label {wrong[0]} where there are {len(self.class_names)}")
        return make_target(boxes, labels.tolist(), table["difficult"].tolist())

    def _name(self, image_id: str) -> str:
        image = self._images[image_id]
        return str(image) if isinstance(image, Path) else f"pair {int(image_id)}"


def _known(path: Path) -> Path:
    """The path. Raises DataError for an unknown extension."""
    if not is_image_name(path.name):
        raise DataError(path, f"has an unknown extension; known are {', '.join(IMAGE_ENDINGS)}")
    return path


def _parse_pair(pair: Any, number: int) -> tuple[Any, dict[str, np.ndarray]]:
    """The image as a path or an array, and the target's arrays."""
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"pair {number} is not (image, target)")
    image, target = pair
    if isinstance(image, (str, PathLike)):
        image = Path(image)
    else:
        pixels = image.convert("RGB") if hasattr(image, "convert") else image
        image = check_image(np.array(pixels))  # a copy: what happens to the caller's later does not matter
    if isinstance(target, Target):
        return image, {name: getattr(target, name) for name in ("boxes", "labels", "difficult")}
    if not isinstance(target, Mapping) or "boxes" not in target or "labels" not in target:
        raise ValueError(f"the target of pair {number} is neither a Target nor a table with boxes and labels")
    boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 4)
    labels = np.asarray(target["labels"], np.int64).reshape(-1)
    difficult = np.asarray(target.get("difficult", target.get("iscrowd", np.zeros(len(boxes)))), np.bool_).reshape(-1)
    if not len(boxes) == len(labels) == len(difficult):
        raise ValueError(f"the target of pair {number} has {len(boxes)} boxes and {len(labels)} labels")
    return image, {"boxes": boxes, "labels": labels, "difficult": difficult}
