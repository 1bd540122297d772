"""What every data set can do, and what some can besides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from spp_det.errors import DataError
from spp_det.structures import Boxes, Image, Size, Target, empty_boxes

# Shows how far a loop over image ids is: `tooling.track`, or any function (ids, description) -> the ids, one by one.
Progress = Callable[[Sequence[str], str], Iterable[str]]
Files = Sequence[str | PathLike[str] | None]


@runtime_checkable
class Dataset(Protocol):
    """Images under ids, and the objects in each.

    Every method raises DataError, which names the file, where what it reads is missing or broken. The functions below
    say what a data set may have further.
    """

    class_names: tuple[str, ...]  # K names; labels index them
    ids: tuple[str, ...]  # unique, in a fixed order

    def __len__(self) -> int:
        """How many images."""
        ...

    def image_path(self, image_id: str) -> Path:
        """The file of one image."""
        ...

    def image(self, image_id: str) -> Image:
        """uint8 [H, W, 3], RGB, upright."""
        ...

    def size(self, image_id: str) -> Size:
        """(height, width) of the upright image, without decoding it."""
        ...

    def target(self, image_id: str) -> Target:
        """The objects, maybe none."""
        ...


def positives_only(dataset: Dataset) -> frozenset[str]:
    """The images whose marked objects are all that training may take from them: `dataset.positives_only`, or none."""
    return getattr(dataset, "positives_only", frozenset())


def loose_faults(dataset: Dataset) -> Mapping[str, DataError]:
    """What is wrong with a data set but belongs to none of its `ids`, by name: `dataset.faults`, or nothing."""
    return getattr(dataset, "faults", {})


def crowds(dataset: Dataset, image_id: str) -> Boxes:
    """Where objects stand too close to be marked one by one: `dataset.crowds(image_id)`, float32 [N, 4], or nowhere."""
    return dataset.crowds(image_id) if hasattr(dataset, "crowds") else empty_boxes()


def object_areas(dataset: Dataset, image_id: str) -> npt.NDArray[np.float64] | None:
    """px of each of the target's objects: `dataset.areas(image_id)`, float64 [N]; None: those of their boxes."""
    return dataset.areas(image_id) if hasattr(dataset, "areas") else None


def image_digest(dataset: Dataset, image_id: str) -> str:
    """SHA-256 of an image: `dataset.digest(image_id)` where images are not files, else of its file."""
    if hasattr(dataset, "digest"):
        return dataset.digest(image_id)
    path = dataset.image_path(image_id)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise DataError(path, "there is no such image") from None
    except OSError as fault:
        raise DataError(path, fault.strerror or str(fault)) from None


def target_basis(dataset: Dataset) -> Any | None:
    """What all targets follow from besides each image's file and annotation: `dataset.target_basis()`, of JSON's types.

    Where that and the files are as they were, the targets need not be read again. None: nobody can say.
    """
    return dataset.target_basis() if _from_one_class(dataset, "target", "target_basis") else None  # type: ignore[attr-defined]


def image_paths(dataset: Dataset) -> Files:
    """Where the image of each of `ids` lies, None where there is none: `dataset.image_paths()`, or one by one."""
    if _from_one_class(dataset, "image_path", "image_paths"):
        return dataset.image_paths()  # type: ignore[attr-defined]
    return [_file(dataset.image_path, image_id) for image_id in dataset.ids]


def annotation_paths(dataset: Dataset) -> Files | None:
    """The same of annotations; None of a data set that has no file for each image."""
    if not hasattr(dataset, "annotation_path"):
        return None
    if _from_one_class(dataset, "annotation_path", "annotation_paths"):
        return dataset.annotation_paths()  # type: ignore[attr-defined]
    return [_file(dataset.annotation_path, image_id) for image_id in dataset.ids]


def _file(find: Callable[[str], Path], image_id: str) -> Path | None:
    try:
        check_id(image_id)
        return find(image_id)
    except DataError:
        return None


def check_id(image_id: str) -> None:
    """Raises DataError for an id that, as a name of a file, would lead elsewhere."""
    if "/" not in image_id and "\0" not in image_id and image_id not in ("", ".", ".."):
        return  # most are such, and a path takes 20 times as long
    name = PurePosixPath(image_id)
    if name.is_absolute() or ".." in name.parts or "\0" in image_id or not name.name:
        raise DataError(image_id, "as an image's id leads out of its folder")


def _from_one_class(dataset: Dataset, *names: str) -> bool:
    """Whether methods are there that belong together: not one of a class's own beside another that it inherits."""
    classes = [next((c for c in type(dataset).__mro__ if name in vars(c)), None) for name in names]
    return classes[-1] is not None and all(c is classes[-1] for c in classes)


def stated_size(dataset: Dataset, image_id: str) -> Size | None:
    """The size that an annotation says its image has: `dataset.stated_size(image_id)`, or None."""
    return dataset.stated_size(image_id) if hasattr(dataset, "stated_size") else None
