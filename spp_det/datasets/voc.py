"""A data set in the layout of the Pascal VOC devkit: the official ones, or a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from spp_det.datasets.voc_annotations import read_annotation
from spp_det.errors import DataError
from spp_det.images import image_size, read_image
from spp_det.structures import Image, Size, Target

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")  # VOC has .jpg; a user's own may have others


class VOCDataset:
    """The images of one split, and what is in them.

    Args:
        root: a VOCdevkit folder, which holds VOC{year}; or a folder that itself holds Annotations, ImageSets/Main and
            JPEGImages.
        year: which VOC{year} of a VOCdevkit folder.
        split: the name of a file ImageSets/Main/{split}.txt. Of its lines the first word is read, the image's id; so
            the devkit's files of one class (`car_test`: id and flag) name all their images, whatever the flag.
        classes: the K class names; labels index them.

    Attributes:
        class_names: the K names.
        ids: the images' ids in the order of the split file.

    Raises:
        DataError: for a folder, a split or an id that is missing; a split without images or with one twice.

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
        self.folder = voc_folder(root, year)
        self.split = split
        self.ids = _read_ids(self.folder, split)

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, image_id: str) -> Path:
        """Where the image lies. Raises DataError where no file of its name is there."""
        return find_image(self.folder / "JPEGImages" / image_id)

    def annotation_path(self, image_id: str) -> Path:
        """Where the annotation lies, or should lie."""
        return self.folder / "Annotations" / f"{image_id}.xml"

    def image(self, image_id: str) -> Image:
        """The image: uint8 [H, W, 3], RGB, upright. Raises DataError where it cannot be read."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> Size:
        """(height, width) of the image, from its header alone. Raises DataError where it cannot be read."""
        return image_size(self.image_path(image_id))

    def target(self, image_id: str) -> Target:
        """What is in the image. Raises DataError as `read_annotation` does."""
        return read_annotation(self.annotation_path(image_id), self.class_names, lambda: self.size(image_id))


def find_image(stem: Path) -> Path:
    """The image file of a path without its suffix. Raises DataError where there is none."""
    for suffix in IMAGE_SUFFIXES:
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    raise DataError(stem.with_name(stem.name + IMAGE_SUFFIXES[0]), "there is no such image")


def voc_folder(root: str | PathLike[str], year: str) -> Path:
    """The folder with Annotations, ImageSets/Main and JPEGImages: root/VOC{year}, or root itself."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(root, "there is no such folder")
    folder = root / f"VOC{year}"
    if not folder.is_dir():
        folder = root
    missing = [name for name in ("Annotations", "ImageSets/Main", "JPEGImages") if not (folder / name).is_dir()]
    if not missing:
        return folder
    if folder != root:
        raise DataError(folder, f"lacks the folder {missing[0]}")
    if len(missing) < 3:
        raise DataError(root, f"lacks the folder {missing[0]} (and holds no VOC{year})")
    years = ", ".join(sorted(path.name for path in root.glob("VOC*") if path.is_dir()))
    held = f"; it holds {years}" if years else ""
    raise DataError(root, f"holds neither VOC{year} nor Annotations, ImageSets/Main and JPEGImages{held}")


def split_names(folder: Path) -> tuple[str, ...]:
    """The splits of a folder with ImageSets/Main, sorted, without the devkit's files of one class."""
    names = sorted(path.stem for path in (folder / "ImageSets" / "Main").glob("*.txt"))
    return tuple(name for name in names if "_" not in name or name.rpartition("_")[2] not in names)


def _read_ids(folder: Path, split: str) -> tuple[str, ...]:
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        found = ", ".join(split_names(folder)) or "none"
        raise DataError(path, f"there is no such split; there are: {found}") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(path, f"cannot be read as a list of ids ({fault})") from None
    ids = tuple(line.split()[0] for line in lines if line.strip())
    if not ids:
        raise DataError(path, "names no image")
    seen: set[str] = set()
    for image_id in ids:
        if image_id in seen:
            raise DataError(path, f"names the image {image_id} twice")
        if Path(image_id).name != image_id:
            raise DataError(path, f"has the id {image_id!r}: an id is a file's name without folder and suffix")
        seen.add(image_id)
    return ids
