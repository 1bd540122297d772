"""What `find_sights` finds, read at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spp_det.errors import DataError
from spp_det.images import read_image
from spp_det.pipeline.pictures import Source, find_sights
from spp_det.structures import Image


def seen(path: Path) -> Iterator[Image]:
    """The picture of a file, or the frames of a video; raises what is told of it."""
    for _, found in find_sights([Source(str(path))]):
        if isinstance(found, DataError):
            raise found
        yield read_image(found) if isinstance(found, str) else found
