"""YOLO's text files as a data set: one line an object, `class x y width height` in parts of the image's sides."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from spp_det.datasets.image_files import repeated
from spp_det.datasets.objects import fit_box, make_target
from spp_det.datasets.yolo_layout import find_layout
from spp_det.errors import DataError
from spp_det.images import image_size, read_image
from spp_det.places import as_path
from spp_det.structures import Boxes, Image, Size, Target


class YoloDataset:
    """The images of one split, and what is in them.

    (x, y) is a box's centre. A line of a class and three points or more, `class x1 y1 x2 y2 x3 y3 ..`, is an outline,
    which becomes the box around it. An image without a text file, or an empty one, has no object. None is difficult.

    Args:
        root: the folder with data.yaml, or with classes.txt, or the .yaml file itself; see yolo_layout.py.
        split: a key of data.yaml (train, val, test); without data.yaml a folder below `images`, or "all".
        classes: names to keep, in this order; objects of others are left out. None: all.

    Attributes:
        class_names: the K names.
        ids: the images' paths below the root, with their endings, sorted.
        faults: files among the images that are none, by name.

    Raises:
        DataError: for a folder, file, split or class that is missing, or without images.

    """

    def __init__(self, root: str | PathLike[str], split: str = "train", classes: Sequence[str] | None = None) -> None:
        layout = find_layout(as_path(root))
        self.all_names = layout.names
        self.class_names = layout.names if classes is None else tuple(classes)
        for name in self.class_names:
            if name not in layout.names:
                raise DataError(layout.source, f"has no class {name!r}; it has {', '.join(layout.names)}")
        self._labels = {layout.names.index(name): label for label, name in enumerate(self.class_names)}
        paths, self.faults = layout.images(split)
        self._layout = layout
        self._paths = {_id_of(path, layout.root): path for path in paths}
        self._label_files = {image_id: layout.label_file(path) for image_id, path in self._paths.items()}
        self._shared = repeated(str(path) for path in self._label_files.values())
        self.ids = tuple(self._paths)

    def __len__(self) -> int:
        return len(self.ids)

    def image_path(self, image_id: str) -> Path:
        """Where the image lies. Raises DataError where another image has the same text file (x.jpg and x.png)."""
        path = self._paths[image_id]
        if str(self._label_files[image_id]) in self._shared:
            raise DataError(path, f"is one of two images of one name, which share {self._label_files[image_id].name}")
        return path

    def annotation_path(self, image_id: str) -> Path:
        """Where the text file lies, or would lie."""
        return self._label_files[image_id]

    def image(self, image_id: str) -> Image:
        """The image: uint8 [H, W, 3], RGB, upright. Raises DataError where it cannot be read."""
        return read_image(self.image_path(image_id))

    def size(self, image_id: str) -> Size:
        """(height, width) of the image, from its header alone. Raises DataError where it cannot be read."""
        return image_size(self.image_path(image_id))

    def target(self, image_id: str) -> Target:
        """What is in the image.

        Raises DataError that names the file and the line for words that are no numbers, too few or too many of them, an
        unknown class, coordinates that are not in parts of the image, or a box that is empty or outside.
        """
        path = self._label_files[image_id]
        size = self.size(image_id)
        rows = [(number, line.split()) for number, line in enumerate(_read_lines(path), 1) if line.strip()]
        found = [_parse(words, path, number, size, self.all_names) for number, words in rows]
        kept = [(box, self._labels[label]) for box, label in found if label in self._labels]
        return make_target([box for box, _ in kept], [label for _, label in kept], [False] * len(kept))

    def target_basis(self) -> list[Any]:
        """What the targets follow from besides the files; see `base.target_basis`."""
        return [list(self.all_names), list(self.class_names)]


def _id_of(path: Path, root: Path) -> str:
    """The path below the root; of an image elsewhere, which a list may name, the whole path."""
    path = path.resolve()
    return (path.relative_to(root.resolve()) if path.is_relative_to(root.resolve()) else path).as_posix().lstrip("/")


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []  # an image without objects
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(path, f"cannot be read as text ({fault})") from None


def _parse(words: list[str], path: Path, number: int, size: Size, names: tuple[str, ...]) -> tuple[Boxes, int]:
    """A box, float32 [4], and the index of its class in the data set's list."""
    line = f"line {number}: {' '.join(words)[:60]!r}"
    try:
        label, values = int(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise DataError(path, f"{line} is not a class number and coordinates") from None
    if not 0 <= label < len(names):
        raise DataError(path, f"{line} is of the unknown class {label}; there are 0 to {len(names) - 1}")
    if len(values) == 4:
        x, y, width, height = values
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    elif len(values) >= 6 and len(values) % 2 == 0:
        corners = [min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])]
    else:
        raise DataError(
            path, f"{line} has {len(values)} numbers behind the class, neither 4 nor the points of an outline"
        )
    if max(values) > 2:
        raise DataError(path, f"{line} is in pixels, it seems: coordinates are parts of the image's sides, 0 to 1")
    try:
        return fit_box([c * side for c, side in zip(corners, size[::-1] * 2, strict=True)], size), label
    except ValueError as fault:
        raise DataError(path, f"{line}: its box {fault}") from None
