"""The compiled part of `pool_windows`.

Three things make it fast, and none changes a bit of the result, since a maximum does not care how often or in which
order it sees a value:

- channels lie side by side in memory, so that one instruction compares 8 or 16 of them;
- a level whose n divides a finer level's is taken from that level's bins, not from the map: bin i of n begins at
  floor(i * L / n) = floor((i * k) * L / (n * k)), where bin i * k of n * k begins, ends alike, and the bins between
  leave no gap;
- a bin of many cells is covered by a few overlapping squares of 2, 4, 8, ... cells, whose maxima are taken from the
  map once for all windows.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from spp_det.pooling.transpose import transpose_into

_PAD = 16  # floats after a row of the scratch: rows a multiple of 4 KiB apart would fight for the same cache lines


@njit(cache=True, nogil=True, parallel=True)
def grow_squares(squares, num):  # type: ignore[no-untyped-def]
    """Fill `squares` float32 [T, h, w, C] from its first table, the map, up to table `num` - 1.

    Cell (y, x) of table t holds the maximum of the square of side 2 ** t whose first cell it is, cut at the border.
    """
    _, height, width, channels = squares.shape
    for t in range(1, num):
        half = 1 << (t - 1)
        for y in prange(height):
            below = min(y + half, height - 1)
            for x in range(width):
                right = min(x + half, width - 1)
                a, b = squares[t - 1, y, x], squares[t - 1, y, right]
                c, d = squares[t - 1, below, x], squares[t - 1, below, right]
                target = squares[t, y, x]
                for k in range(channels):
                    top = a[k] if a[k] > b[k] else b[k]
                    bottom = c[k] if c[k] > d[k] else d[k]
                    target[k] = top if top > bottom else bottom


@njit(cache=True, nogil=True)
def _pool_bin(squares, y0, y1, x0, x1, target):  # type: ignore[no-untyped-def]
    """The maximum of cells y0 .. y1 - 1, x0 .. x1 - 1 by the largest squares that fit into them; float32 [C]."""
    num, _, _, channels = squares.shape
    side, t = 1, 0
    while t + 1 < num and 2 * side <= min(y1 - y0, x1 - x0):
        side, t = 2 * side, t + 1
    table = squares[t]
    last_y, last_x = y1 - side, x1 - side
    # Four corners at once: most bins need no more.
    a, b, c, d = table[y0, x0], table[y0, last_x], table[last_y, x0], table[last_y, last_x]
    for k in range(channels):
        top = a[k] if a[k] > b[k] else b[k]
        bottom = c[k] if c[k] > d[k] else d[k]
        target[k] = top if top > bottom else bottom
    if y1 - y0 <= 2 * side and x1 - x0 <= 2 * side:
        return
    for row in range(y0, y1, side):
        y = min(row, last_y)
        for column in range(x0, x1, side):
            cell = table[y, min(column, last_x)]
            for k in range(channels):
                target[k] = cell[k] if cell[k] > target[k] else target[k]


@njit(cache=True, nogil=True)
def _reduce_level(bins, fine, fine_start, coarse, coarse_start, channels):  # type: ignore[no-untyped-def]
    """Bins of a level of `coarse` x `coarse` from those of a level of `fine` x `fine`; coarse divides fine."""
    step = fine // coarse
    for i in range(coarse):
        for j in range(coarse):
            first = fine_start + i * step * fine + j * step
            target = bins[coarse_start + i * coarse + j]
            source = bins[first]
            for k in range(channels):
                target[k] = source[k]
            for y in range(step):
                for x in range(step):
                    source = bins[first + y * fine + x]
                    for k in range(channels):
                        target[k] = source[k] if source[k] > target[k] else target[k]


@njit(cache=True, nogil=True, parallel=True)
def pool_kernel(squares, windows, plan, rows, out, workers):  # type: ignore[no-untyped-def]
    """Pool windows int64 [R, 4] of the map, squares[0], into the rows `rows` int64 [R] of `out` float32 [*, C * bins].

    `plan` int64 [L, 4]: per level in the order of the work n, its first bin, and n and first bin of the level that
    it is taken from (0, 0: the map). `workers`: into how many shares the windows are dealt, one by one.
    """
    channels = squares.shape[3]
    num_bins = 0
    for p in range(len(plan)):
        num_bins += plan[p, 0] * plan[p, 0]
    for worker in prange(workers):
        bins = np.empty((num_bins, channels + _PAD), np.float32)
        for r in range(worker, len(windows), workers):
            left, top = windows[r, 0], windows[r, 1]
            width, height = windows[r, 2] - left + 1, windows[r, 3] - top + 1
            vector = out[rows[r]]
            for p in range(len(plan)):
                n, start = plan[p, 0], plan[p, 1]
                if plan[p, 2] > 0:
                    _reduce_level(bins, plan[p, 2], plan[p, 3], n, start, channels)
                else:
                    for i in range(n):
                        y0, y1 = top + i * height // n, top + ((i + 1) * height + n - 1) // n
                        for j in range(n):
                            x0, x1 = left + j * width // n, left + ((j + 1) * width + n - 1) // n
                            _pool_bin(squares, y0, y1, x0, x1, bins[start + i * n + j])
                transpose_into(vector, start * channels, bins, start, n * n, channels)
