"""A part of a split that is held out for testing, where a data set has none of its own."""

from __future__ import annotations

import hashlib
from typing import Literal

from spp_det.datasets.base import Dataset
from spp_det.errors import ConfigError

HELD = 0.2  # of the images
Part = Literal["learn", "held"]
PARTS: tuple[Part, ...] = ("learn", "held")


def split_and_part(split: str) -> tuple[str, Part | None]:
    """ "all:learn" is the part "learn" of the split "all"; without a colon it is the whole split."""
    name, colon, part = split.rpartition(":")
    if not colon:
        return split, None
    if part not in PARTS:
        raise ConfigError(f"the split {split}: a part is {' or '.join(PARTS)}, not {part!r}")
    return name, part


def keep_part(dataset: Dataset, part: Part) -> None:
    """Leave a data set the images of one part: "held" is a fifth of them, one at least, and "learn" the rest.

    Which ones follows from their ids alone. Raises ConfigError for a data set of a single image.
    """
    if len(dataset.ids) < 2:
        raise ConfigError("a data set of one image has nothing to hold out for testing")
    ranked = sorted(dataset.ids, key=lambda image_id: hashlib.sha256(image_id.encode()).digest())
    held = set(ranked[: max(1, round(HELD * len(ranked)))])
    dataset.ids = tuple(image_id for image_id in dataset.ids if (image_id in held) == (part == "held"))
