"""Spatial pyramid pooling by loops over every cell, in whole numbers and Python floats."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor

import numpy as np


def pool_slowly(feature_map: np.ndarray, windows: np.ndarray, levels: Sequence[int]) -> np.ndarray:
    """float32 [C, h, w] and int64 [R, 4] to float32 [R, C * bins], as the paper's appendix A says it."""
    vectors = []
    for x0, y0, x1, y1 in windows.tolist():
        window = feature_map[:, y0 : y1 + 1, x0 : x1 + 1]
        vector = []
        for n in levels:
            for channel in window:
                for i in range(n):
                    for j in range(n):
                        rows, columns = bin_cells(channel.shape[0], n, i), bin_cells(channel.shape[1], n, j)
                        vector.append(max(channel[y, x] for y in rows for x in columns))
        vectors.append(vector)
    length = len(feature_map) * sum(n * n for n in levels)
    return np.array(vectors, np.float32).reshape(len(windows), length)


def bin_cells(extent: int, n: int, i: int) -> range:
    """Cells of bin i of n over `extent`."""
    return range(floor(Fraction(i, n) * extent), ceil(Fraction(i + 1, n) * extent))
