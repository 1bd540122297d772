"""A data set in the layout of the Pascal VOC devkit: the official ones, or a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any

from spp_det.datasets.image_files import find_image, find_images
from spp_det.datasets.voc_annotations import read_annotation, read_stated_size
from spp_det.datasets.voc_layout import VocFolders, read_ids, split_folders
from spp_det.errors import DataError
from spp_det.images import image_size, read_image
from spp_det.structures import Image, Size, Target

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VOCDataset:
    """The images of one split, and what is in them.

    Args:
        root: a VOCdevkit folder, which holds VOC{year}; or a folder that itself holds Annotations, ImageSets/Main and
            JPEGImages; or one without lists of ids, see voc_layout.py, whose only split is "all".
        year: which VOC{year} of a VOCdevkit folder.
        split: the name of a file ImageSets/Main/{split}.txt. Of its lines the first word is read, the image's id; so
            the devkit's files of one class (`car_test`: id and flag) name all their images, whatever the flag.
            "train+val" joins splits, "2012/train" is one of another year: "2007/trainval+2012/trainval".
        classes: the K class names; labels index them.

    Attributes:
        class_names: the K names.
        ids: the images' ids in the order of the split files.
        faults: ids that the split files have twice, or that are none, by id.

    Raises:
        DataError: for a folder, a split or an id that is missing; a split without images.

    """

    def __init__(
        self,
        root: str | PathLike[str],
        year: str = "2007",
        split: str = "trainval",
        classes: Sequence[str] = VOC_CLASSES,
    ) -> None:
        self.class_names = tuple(classes)
        if not self.class_names or len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f"class names are at least one and differ from each other, not {self.class_names}")
        self.split = split
        self._folders: dict[str, VocFolders] = {}  # of each image
        self.faults: dict[str, DataError] = {}
        for part in split.split("+"):
            folders, name = split_folders(root, year, part.strip())
            ids, faults = read_ids(folders, name)
            for image_id in ids:
                if image_id in self._folders:
                    faults[image_id] = DataError(folders.folder, f"the split {split} has the image {image_id} twice")
                self._folders.setdefault(image_id, folders)
            self.faults |= faults
        self.ids = tuple(self._folders)

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, image_id: str) -> Path:
        """Where the image lies. Raises DataError where no file of its name is there."""
        return find_image(self._folders[image_id].images / image_id)

    def annotation_path(self, image_id: str) -> Path:
        """Where the annotation lies, or should lie."""
        return self._folders[image_id].annotations / f"{image_id}.xml"

    def image_paths(self) -> list[str | Path | None]:
        """`image_path` of each image, all at once; None where it raises."""
        files: list[str | Path | None] = []
        for folders, ids in groupby(self.ids, self._folders.__getitem__):
            files += find_images(folders.images, list(ids))
        return files

    def annotation_paths(self) -> list[str]:
        """`annotation_path` of each image, all at once."""
        folder_of = {folders: str(folders.annotations / "_")[:-1] for folders in set(self._folders.values())}
        return [f"{folder_of[self._folders[image_id]]}{image_id}.xml" for image_id in self.ids]

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
