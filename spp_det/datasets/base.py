"""What every data set can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from spp_det.structures import Image, Size, Target

# Shows how far a loop over image ids is: `tooling.track`, or any function (ids, description) -> the ids, one by one.
Progress = Callable[[Sequence[str], str], Iterable[str]]


class Dataset(Protocol):
    """Images under ids, and the objects in each.

    Every method raises DataError, which names the file, where what it reads is missing or broken.
    """

    class_names: tuple[str, ...]  # K names; labels index them
    ids: tuple[str, ...]  # unique, in a fixed order

    # Further, where it is there, `positives_only`: the ids of images in which not every object is marked, see below.

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
    """The images whose marked objects are all that training may take from them; none in most data sets."""
    return getattr(dataset, "positives_only", frozenset())
