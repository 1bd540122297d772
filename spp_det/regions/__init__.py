"""Region extractors: an image and boxes to one vector per box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from spp_det.regions.maps import ImageMaps
from spp_det.regions.rcnn import RCNNRegions
from spp_det.regions.sharing import maps_key, pooled_key
from spp_det.regions.spp import SPPRegions
from spp_det.structures import Boxes, Image
from spp_det.watch import Watch

if TYPE_CHECKING:  # extractors take any trunk and head, also of an exported detector, which runs without torch
    from spp_det.networks import FcHead


class RegionExtractor(Protocol):
    """What every part of this room does."""

    @property
    def head(self) -> FcHead:
        """The fully connected layers behind the pooled vectors."""

    def image_features(self, image: Image) -> Any:
        """What is computed once for an image, uint8 [H, W, 3], whatever its windows."""

    def live_features(self, image: Image) -> Any:
        """The same for windows that are wanted at once, in the form that gives their vectors soonest."""

    def distinct(self, features: Any, boxes: Boxes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The first box of each vector that boxes share, int64 [M], and the place there of each box's, int64 [N]."""

    def pooled(self, features: Any, boxes: Boxes, watch: Watch | None = None) -> Any:
        """The vectors of windows, float32 [N, 4], at "pool5", the seconds of each stage counted by the watch.

        Of live features a tensor in the type that the head computes in, or an array.
        """

    def window_features(self, features: Any, boxes: Boxes, layer: str = "fc7") -> npt.NDArray[np.float32]:
        """The vectors of windows, float32 [N, 4], at "pool5", "fc6", "fc7" or "logits": float32 [N, dim(layer)]."""

    def dim(self, layer: str) -> int:
        """The length of a layer's vector."""


REGIONS = {"spp": SPPRegions, "rcnn": RCNNRegions}

__all__ = ["REGIONS", "ImageMaps", "RCNNRegions", "RegionExtractor", "SPPRegions", "maps_key", "pooled_key"]
