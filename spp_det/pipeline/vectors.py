"""The vectors of all training windows at one layer, kept for a region extractor that is slow to make them: R-CNN's.

In float16, 8 kB a window at an fc7 of 4,096: for 2,000 windows an image 16 MB, for VOC 2007's trainval 82 GB. Where the
trunk is not tuned, those at pool5 are kept instead, 37 MB an image, which fine-tuning and every layer start from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from spp_det.pipeline.sharing import Made, fill_stages
from spp_det.pipeline.store import StageFolder
from spp_det.processes import ALONE, Processes
from spp_det.structures import Boxes
from spp_det.training.source import Vectors

if TYPE_CHECKING:
    from spp_det.pipeline.windows import TrainingWindows


def make_vectors_stage(
    stage: StageFolder, source: TrainingWindows, layer: str, flipped: bool = False, here: Processes = ALONE
) -> None:
    """The vectors of every window of every image; images that have theirs are passed over.

    flipped: "pool5" alone: of the windows on the mirror images, the boxes beside them as on the images themselves.
    """
    index_of = {image_id: index for index, image_id in enumerate(source.split.ids)}

    def make(ids: Iterator[str]) -> Iterator[Made]:
        for image_id in ids:
            index = index_of[image_id]
            boxes = source.windows(index).boxes
            vectors = source.pooled(index, boxes, flipped=True) if flipped else source.features(index, boxes, layer)
            yield image_id, [{"boxes": boxes, "vectors": vectors.astype(np.float16)}]

    fill_stages([stage], source.split.ids, make, f"{layer} of crops", here)


def read_vectors(stage: StageFolder, image_id: str, boxes: Boxes) -> Vectors:
    """The vectors of boxes that are windows of an image: float32 [n, D]."""
    stored = stage.read(image_id)
    row_of = {box.tobytes(): row for row, box in enumerate(stored["boxes"])}
    rows = [row_of[box.tobytes()] for box in boxes]
    return stored["vectors"][rows].astype(np.float32)
