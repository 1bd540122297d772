"""Which region extractors compute the same of an image, so that it need be computed only once for all of them."""

from __future__ import annotations

from collections.abc import Hashable

from spp_det.regions.rcnn import RCNNRegions
from spp_det.regions.spp import SPPRegions


def maps_key(regions: object) -> Hashable:
    """Equal for extractors whose `image_features` are the same: one trunk with the same weights and scales."""
    if isinstance(regions, SPPRegions):
        return "spp", regions.trunk.digest(), regions.trunk.dtype, regions.scales, regions.dtype
    if isinstance(regions, RCNNRegions):
        return "image"
    return id(regions)


def pooled_key(regions: object) -> Hashable:
    """Equal for extractors whose `distinct` and `pooled` are the same as well: the same pyramid and mapping, too."""
    if isinstance(regions, SPPRegions):
        return maps_key(regions), regions.levels, regions.scale_rule, regions.mapping
    if isinstance(regions, RCNNRegions):
        trunk = regions.trunk
        return "rcnn", trunk.digest(), trunk.dtype, regions.levels, regions.crop_size, regions.context
    return id(regions)
