"""Proposals from a file, and the file that keeps them.

`.npz`: one float array [N, 4] for each image id, boxes (x1, y1, x2, y2) in the package's convention, best first.
`.mat`: the R-CNN release's: a cell array `images` of ids and a cell array `boxes` of [N, 4] arrays (y1, x1, y2, x2),
1-based and inclusive (roidb_from_voc.m:123-124), which become (x1 - 1, y1 - 1, x2, y2).
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spp_det.errors import DataError
from spp_det.files import read_npz
from spp_det.matlab import read_mat
from spp_det.structures import Boxes, Image, Proposals, check_boxes

Arrays = Mapping[str, npt.NDArray[np.generic]]


class BoxFile:
    """Proposals that were computed before and lie in a `.npz` or `.mat` file of the module's formats.

    Raises DataError where the file is missing, unreadable or of another format.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._boxes = _read(self.path)

    def propose(self, image: Image, image_id: str) -> Proposals:
        """The file's boxes of the image, uint8 [H, W, 3], in the file's order.

        Raises DataError where the file lacks the image, its array is not [N, 4] numbers, or a box is empty or leaves
        the image, as when the file belongs to other images.
        """
        if image_id not in self._boxes:
            raise DataError(self.path, f"has no boxes of image {image_id!r}")
        boxes = _checked(self.path, image_id, self._boxes[image_id])
        height, width = image.shape[:2]
        outside = (boxes[:, 2] > width) | (boxes[:, 3] > height)
        if outside.any():
            box = boxes[outside][0].tolist()
            raise DataError(
                self.path, f"image {image_id!r} is {width} x {height} pixels, but its box {box} lies outside"
            )
        return Proposals(boxes)


def save_boxes(path: str | PathLike[str], boxes: Mapping[str, Boxes]) -> None:
    """Writes the boxes of images, float32 [N, 4] by image id, as an `.npz` that `BoxFile` reads.

    The file is whole or absent: it is written aside and renamed. Raises ValueError for another suffix or wrong boxes.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"boxes are saved as .npz, not as {path.name}")
    arrays = {image_id: check_boxes(array) for image_id, array in boxes.items()}
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        _write_npz(aside, arrays)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _write_npz(path: Path, arrays: Mapping[str, Boxes]) -> None:
    """As numpy.savez_compressed, but for ids of any name and with no time of writing: equal boxes, equal bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for image_id, array in arrays.items():
            entry = zipfile.ZipInfo(f"{image_id}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with file.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def _read(path: Path) -> Arrays:
    readers: dict[str, Callable[[Path], Arrays]] = {".npz": read_npz, ".mat": _read_mat}
    if path.suffix not in readers:
        raise DataError(path, "is no file of boxes: .npz and .mat are read")
    if not path.is_file():
        raise DataError(path, "there is no such file of boxes")
    return readers[path.suffix](path)


def _read_mat(path: Path) -> Arrays:
    content = read_mat(path, ("boxes", "images"))
    if "boxes" not in content or "images" not in content:
        raise DataError(path, "lacks the cell arrays `boxes` and `images` of the R-CNN release")
    boxes, images = (np.asarray(content[name]).ravel() for name in ("boxes", "images"))
    if boxes.dtype != object or images.dtype != object or len(boxes) != len(images):
        raise DataError(path, f"`boxes` and `images` are not cell arrays of one length ({len(boxes)}, {len(images)})")
    return {_cell_text(path, cell): _from_matlab(np.asarray(array)) for cell, array in zip(images, boxes, strict=True)}


def _cell_text(path: Path, cell: object) -> str:
    if not isinstance(cell, str):
        raise DataError(path, "`images` holds something that is no image id")
    return cell


def _from_matlab(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """(y1, x1, y2, x2) from 1, inclusive, to the package's boxes; another shape passes through, to be named later."""
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "fiu":
        return array
    return array[:, [1, 0, 3, 2]].astype(np.float32) - np.array([1, 1, 0, 0], np.float32)


def _checked(path: Path, image_id: str, array: npt.NDArray[np.generic]) -> Boxes:
    if array.dtype.kind not in "fiu":
        raise DataError(path, f"the boxes of image {image_id!r} are not numbers")
    try:
        return check_boxes(array)
    except ValueError as fault:
        raise DataError(path, f"image {image_id!r}: {fault}") from None
