"""Images in one folder a class, as ImageNet, Caltech101 and most people's own are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from spp_det.errors import DataError
from spp_det.images import read_image, resize, scaled_size
from spp_det.structures import Image, Labels

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
MOST_SLENDER = 50  # times as long as wide: at a short side of 560 px this is 47 million pixels


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Image files and the class of each.

    paths: sorted within a class; labels: int64 [N], into class_names.
    """

    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Labels

    def __len__(self) -> int:
        return len(self.paths)


def read_folders(root: str | PathLike[str], classes: Sequence[str] | None = None) -> LabelledImages:
    """The images below a folder that holds one folder a class; a class's own folders are not looked into.

    classes: their names, in the order of the labels; None: those of the folders, sorted. A class of `classes` may lack
    its folder (a test may be of some only), but no folder may be of another class.
    Raises DataError for a folder that is missing, holds no class, or is of a class that is empty or unknown.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(root, "there is no such folder")
    found = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise DataError(root, "holds no folder, where one a class is expected")
    names = tuple(classes) if classes is not None else tuple(found)
    unknown = [name for name in found if name not in names]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DataError(root / unknown[0], f"is none of the {len(names)} classes of the classifier{more}")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = _images(root / name) if name in found else []
        paths += files
        labels += [label] * len(files)
    return LabelledImages(names, tuple(paths), np.array(labels, np.int64))


def _images(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise DataError(folder, "is the folder of a class, and holds no image")
    return files


def read_scaled(path: str | PathLike[str], short_side: int) -> Image:
    """The image at a short side of so many px: uint8 [H, W, 3]. Raises DataError as `read_picture` does."""
    image = read_picture(path)
    return resize(image, scaled_size(image.shape[:2], short_side))


def read_picture(path: str | PathLike[str]) -> Image:
    """The image: uint8 [H, W, 3].

    Raises DataError as `read_image` does, and for one so slender that, at the scales here, it would fill the memory.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    if max(height, width) > MOST_SLENDER * min(height, width):
        raise DataError(path, f"is {width} x {height} pixels, more than {MOST_SLENDER} times as long as wide")
    return image
