"""The training images as the training room wants them: windows from the targets, vectors from the stored maps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from spp_det.boxes import flip
from spp_det.datasets import crowds, positives_only
from spp_det.images import flip_image
from spp_det.pipeline.precompute import compute_maps, read_maps, read_proposals
from spp_det.pipeline.split import Split
from spp_det.pipeline.store import StageFolder
from spp_det.pipeline.vectors import read_vectors
from spp_det.regions import RegionExtractor, SPPRegions
from spp_det.structures import Boxes, Image
from spp_det.training.source import Vectors, Windows
from spp_det.training.windows import make_windows, without_crowds


class TrainingWindows:
    """A `training.source.PooledSource` over the stages of a run.

    proposals, maps: stages that are done; maps[flipped] holds the maps of the images as they are (False) and mirrored
    (True); those that are not in it are computed when they are asked for. With a region extractor that is not
    SPPRegions the images themselves are read instead.
    stored: by layer and whether the images are mirrored, stages that hold the vectors of all windows already; to be
    filled as they come.
    """

    def __init__(
        self,
        split: Split,
        proposals: StageFolder,
        maps: dict[bool, StageFolder],
        regions: RegionExtractor,
        use_difficult: bool,
    ) -> None:
        self.split = split
        self.proposals = proposals
        self.maps = maps
        self.regions = regions
        self.use_difficult = use_difficult
        self.stored: dict[tuple[str, bool], StageFolder] = {}
        self._features = lru_cache(maxsize=2)(self._read_features)  # an image's calls come one after another

    def __len__(self) -> int:
        return len(self.split.ids)

    def windows(self, index: int) -> Windows:
        """The windows of image `index`."""
        image_id = self.split.ids[index]
        target = self.split.targets[image_id]
        num_classes = len(self.split.dataset.class_names)
        exhaustive = image_id not in positives_only(self.split.dataset)
        proposals = without_crowds(read_proposals(self.proposals, image_id), crowds(self.split.dataset, image_id))
        return make_windows(target, proposals, num_classes, self.use_difficult, exhaustive)

    def pooled(
        self, index: int, boxes: Boxes, *, flipped: bool = False, scale_indices: np.ndarray | None = None
    ) -> Vectors:
        """Pooled vectors of boxes on the image as it is; of the same boxes on its mirror image where `flipped`.

        From the store where it has them.
        """
        if ("pool5", flipped) in self.stored:
            return read_vectors(self.stored["pool5", flipped], self.split.ids[index], boxes)
        features, boxes = self._features(index, flipped), self._placed(index, boxes, flipped)
        if scale_indices is not None and isinstance(self.regions, SPPRegions):
            return self.regions.pool(features, boxes, scale_indices)
        return self.regions.window_features(features, boxes, "pool5")

    def image(self, index: int, boxes: Boxes, flipped: bool) -> tuple[Image, Boxes]:
        """An image and boxes of it, both mirrored where `flipped`."""
        image = self.split.dataset.image(self.split.ids[index])
        return flip_image(image) if flipped else image, self._placed(index, boxes, flipped)

    def features(self, index: int, boxes: Boxes, layer: str) -> Vectors:
        """The vectors of boxes at a layer, from the store where it has them or the pooled ones that they come from."""
        if (layer, False) in self.stored:
            return read_vectors(self.stored[layer, False], self.split.ids[index], boxes)
        if ("pool5", False) in self.stored:
            return self.regions.head.numpy(self.pooled(index, boxes), layer)
        return self.regions.window_features(self._features(index, False), boxes, layer)

    def cell_ids(self, index: int, boxes: Boxes) -> np.ndarray | None:
        """Equal numbers for boxes that pool the same cells of the same map: int64 [n]."""
        if not isinstance(self.regions, SPPRegions):
            return None
        return self.regions.distinct(self._features(index, False), boxes)[1]

    @property
    def num_scales(self) -> int:
        """The number of scales that the images were mapped at."""
        return len(self.regions.scales) if isinstance(self.regions, SPPRegions) else 1

    def dim(self, layer: str) -> int:
        """The length of a vector at `layer`."""
        return self.regions.dim(layer)

    def _placed(self, index: int, boxes: Boxes, flipped: bool) -> Boxes:
        """Boxes of an image where they lie on its mirror image."""
        _, width = self.split.sizes[self.split.ids[index]]
        return flip(boxes, width) if flipped else boxes

    def _read_features(self, index: int, flipped: bool) -> Any:
        image_id = self.split.ids[index]
        if flipped in self.maps:
            return read_maps(self.maps[flipped], image_id)
        image = self.split.dataset.image(image_id)
        image = flip_image(image) if flipped else image
        if isinstance(self.regions, SPPRegions):
            return compute_maps(self.regions, image)
        return self.regions.image_features(image)
