"""Spatial pyramid pooling: what a pyramid is, where a window lies on a map, and the fast kernel.

plain.py beside it is the definition by torch, which is not imported here, since the kernel does without.
"""

from spp_det.pooling.mapping import choose_scales, window_cells
from spp_det.pooling.pool import pool_windows
from spp_det.pooling.prepared import PreparedMap
from spp_det.pooling.pyramid import PAPER_LEVELS, bin_edges, num_bins, vector_length

__all__ = [
    "PAPER_LEVELS",
    "PreparedMap",
    "bin_edges",
    "choose_scales",
    "num_bins",
    "pool_windows",
    "vector_length",
    "window_cells",
]
