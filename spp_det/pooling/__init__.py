"""Spatial pyramid pooling: what a pyramid is, where a window lies on a map, and the fast kernel."""

from spp_det.pooling.mapping import choose_scales, window_cells
from spp_det.pooling.plain import pool_maps, pool_windows_plain
from spp_det.pooling.pool import pool_windows
from spp_det.pooling.pyramid import PAPER_LEVELS, bin_edges, num_bins, vector_length

__all__ = [
    "PAPER_LEVELS",
    "bin_edges",
    "choose_scales",
    "num_bins",
    "pool_maps",
    "pool_windows",
    "pool_windows_plain",
    "vector_length",
    "window_cells",
]
