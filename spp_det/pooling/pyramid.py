"""What a spatial pyramid is: levels of n x n bins, and which cells each bin covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PAPER_LEVELS = (1, 2, 3, 6)  # 50 bins (section 4.1)


def bin_edges(extent: int, n: int) -> npt.NDArray[np.int64]:
    """The cells of the n bins over `extent` cells: int64 [n, 2], first cell and one past the last.

    Bin i covers floor(i * extent / n) to ceil((i + 1) * extent / n) - 1 (paper, appendix A), in whole numbers. Bins
    share a cell where n does not divide the extent, and none is empty. torch's adaptive pooling has the same bins.
    """
    if extent < 1 or n < 1:
        raise ValueError(f"{n} bins over {extent} cells: both must be at least 1")
    i = np.arange(n, dtype=np.int64)
    return np.stack([i * extent // n, -(-(i + 1) * extent // n)], axis=1)


def check_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """The same levels as a tuple. Raises ValueError if there is none, or one is not a whole number of at least 1."""
    if len(levels) == 0 or any(int(n) != n or n < 1 for n in levels):
        raise ValueError(f"pyramid levels are whole numbers of at least 1, not {tuple(levels)}")
    return tuple(int(n) for n in levels)


def num_bins(levels: Sequence[int]) -> int:
    """Bins of a pyramid: the sum of n * n."""
    return sum(n * n for n in check_levels(levels))


def vector_length(channels: int, levels: Sequence[int]) -> int:
    """Length of the vector that a pyramid makes of one window of a map of `channels` channels."""
    return channels * num_bins(levels)
