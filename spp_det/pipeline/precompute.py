"""The stages that look at images alone: proposals, and the maps of the convolutional layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from spp_det.config import Config
from spp_det.images import flip_image
from spp_det.parallel import available_cores, map_ordered
from spp_det.parts import make_proposals
from spp_det.pipeline.plan import without_proposals
from spp_det.pipeline.sharing import Made, fill_stages
from spp_det.pipeline.split import Split
from spp_det.pipeline.store import StageFolder
from spp_det.processes import ALONE, Processes
from spp_det.regions import ImageMaps, SPPRegions
from spp_det.structures import Image, Proposals, empty_boxes


def make_proposals_stage(stage: StageFolder, config: Config, split: Split, here: Processes = ALONE) -> None:
    """Windows for every image; images that have theirs are passed over."""
    method = make_proposals(config, threads=1)

    without = set(without_proposals(split))

    def propose(image_id: str) -> tuple[str, Proposals]:
        if image_id in without:
            return image_id, Proposals(empty_boxes())
        return image_id, method.propose(split.dataset.image(image_id), image_id)

    def make(ids: Iterator[str]) -> Iterator[Made]:
        for image_id, proposals in map_ordered(propose, ids, available_cores()):
            yield image_id, [{"boxes": proposals.boxes}]

    fill_stages([stage], split.ids, make, "proposals", here)


def read_proposals(stage: StageFolder, image_id: str) -> Proposals:
    """The windows of one image."""
    return Proposals(stage.read(image_id)["boxes"])


def make_maps_stage(
    stage: StageFolder, regions: SPPRegions, split: Split, flipped: bool, here: Processes = ALONE
) -> None:
    """The maps of every image in float16."""
    change: Callable[[Image], Image] = flip_image if flipped else lambda image: image

    def make(ids: Iterator[str]) -> Iterator[Made]:
        for image_id, image in map_ordered(lambda i: (i, change(split.dataset.image(i))), ids, workers=1):
            yield image_id, [compute_maps(regions, image).arrays()]

    fill_stages([stage], split.ids, make, "maps, mirrored" if flipped else "maps", here)


def compute_maps(regions: SPPRegions, image: Image) -> ImageMaps:
    """The maps of one image as they are stored, in float16."""
    arrays = regions.image_features(image).arrays()
    return ImageMaps.from_arrays({n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in arrays.items()})


def read_maps(stage: StageFolder, image_id: str) -> ImageMaps:
    """The maps of one image."""
    return ImageMaps.from_arrays(stage.read(image_id))
