"""The compiled part of `pool_windows`.

Four things make it fast, and none changes a bit of the result, since a maximum does not care how often or in which
order it sees a value:

- channels lie side by side in memory, so that one instruction compares 8 or 16 of them;
- a level whose n divides a finer level's is taken from that level's bins, not from the map: bin i of n begins at
  floor(i * L / n) = floor((i * k) * L / (n * k)), where bin i * k of n * k begins, ends alike, and the bins between
  leave no gap;
- a bin of many cells is covered by a few overlapping squares of 2, 4, 8, ... cells, whose maxima are taken from the
  map once for all windows;
- vectors that take more memory than the caches hold are written past them.

Maps of bfloat16 come as int16, twice as many to an instruction: their bits as integers in the same order.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from spp_det.pooling.transpose import transpose_into
from spp_det.pooling.vectors import LINE, finish_streams, max_of_four, raise_to, reorder, stream


@njit(cache=True, nogil=True, parallel=True)
def grow_squares(squares, num):  # type: ignore[no-untyped-def]
    """Fill `squares` [T, h, w, C] from its first table, the map, up to table `num` - 1.

    Cell (y, x) of table t holds the maximum of the square of side 2 ** t whose first cell it is, cut at the border.
    """
    _, height, width, channels = squares.shape
    flat = squares.reshape(-1)
    for t in range(1, num):
        half = 1 << (t - 1)
        for y in prange(height):
            top, bottom = ((t - 1) * height + y) * width, ((t - 1) * height + min(y + half, height - 1)) * width
            for x in range(width):
                right = min(x + half, width - 1)
                a, b = (top + x) * channels, (top + right) * channels
                c, d = (bottom + x) * channels, (bottom + right) * channels
                max_of_four(flat, ((t * height + y) * width + x) * channels, flat, a, b, c, d, channels)


@njit(cache=True, nogil=True)
def _pool_bin(bins, bin_at, flat, shape, y0, y1, x0, x1):  # type: ignore[no-untyped-def]
    """bins[bin_at:] = the maximum of cells y0 .. y1 - 1, x0 .. x1 - 1 by the largest squares that fit into them."""
    num, height, width, channels = shape
    side, t = 1, 0
    while t + 1 < num and 2 * side <= min(y1 - y0, x1 - x0):
        side, t = 2 * side, t + 1
    last_y, last_x = y1 - side, x1 - side
    top, bottom = (t * height + y0) * width, (t * height + last_y) * width
    # Four corners at once: most bins need no more.
    a, b = (top + x0) * channels, (top + last_x) * channels
    c, d = (bottom + x0) * channels, (bottom + last_x) * channels
    max_of_four(bins, bin_at, flat, a, b, c, d, channels)
    if y1 - y0 <= 2 * side and x1 - x0 <= 2 * side:
        return
    for row in range(y0, y1, side):
        first = (t * height + min(row, last_y)) * width
        for column in range(x0, x1, side):
            raise_to(bins, bin_at, flat, (first + min(column, last_x)) * channels, channels)


@njit(cache=True, nogil=True)
def _reduce_level(bins, step, fine, fine_start, coarse, coarse_start, channels):  # type: ignore[no-untyped-def]
    """Bins of a level of `coarse` x `coarse` from those of a level of `fine` x `fine`; coarse divides fine."""
    side = fine // coarse
    for i in range(coarse):
        for j in range(coarse):
            target = (coarse_start + i * coarse + j) * step
            first = (fine_start + i * side * fine + j * side) * step
            a, b = first, first + (side - 1) * step
            c = first + (side - 1) * fine * step
            max_of_four(bins, target, bins, a, b, c, c + (side - 1) * step, channels)
            if side > 2:
                for y in range(side):
                    for x in range(side):
                        raise_to(bins, target, bins, first + (y * fine + x) * step, channels)


@njit(cache=True, nogil=True, parallel=True)
def pool_kernel(  # type: ignore[no-untyped-def]
    squares, windows, plan, rows, out, channels, workers, ordered, past_caches
):
    """Pool windows int64 [R, 4] of the map, squares[0], into the rows `rows` int64 [R] of `out` [*, C * bins].

    `squares` float32 or int16 [T, h, w, >= C], its last dimension in whole cache lines; `out` of the same type.
    `plan` int64 [L, 4]: per level in the order of the work n, its first bin, and n and first bin of the level that it
    is taken from (0, 0: the map). `channels`: C. `workers`: into how many shares the windows are dealt, one by one.
    `ordered`: the squares went through `reorder`, which is undone. `past_caches`: how `out` is written.
    """
    shape = squares.shape
    flat, flat_out = squares.reshape(-1), out.reshape(-1)
    num_bins = 0
    for p in range(len(plan)):
        num_bins += plan[p, 0] * plan[p, 0]
    # One line after a row of the scratch: rows a multiple of 4 KiB apart would fight for the same places in the cache.
    step = shape[3] + LINE // squares.itemsize
    length = num_bins * channels
    for worker in prange(workers):
        bins = np.empty((num_bins, step), squares.dtype)
        flat_bins = bins.reshape(-1)
        vector = np.empty(length if past_caches else 0, squares.dtype)
        for r in range(worker, len(windows), workers):
            left, top = windows[r, 0], windows[r, 1]
            width, height = windows[r, 2] - left + 1, windows[r, 3] - top + 1
            for p in range(len(plan)):
                n, start = plan[p, 0], plan[p, 1]
                if plan[p, 2] > 0:
                    _reduce_level(flat_bins, step, plan[p, 2], plan[p, 3], n, start, shape[3])
                else:
                    for i in range(n):
                        y0, y1 = top + i * height // n, top + ((i + 1) * height + n - 1) // n
                        for j in range(n):
                            x0, x1 = left + j * width // n, left + ((j + 1) * width + n - 1) // n
                            _pool_bin(flat_bins, (start + i * n + j) * step, flat, shape, y0, y1, x0, x1)
            if ordered:
                for b in range(num_bins):
                    reorder(flat_bins, b * step, shape[3])
            target, at = (vector, 0) if past_caches else (flat_out, rows[r] * length)
            for p in range(len(plan)):
                n, start = plan[p, 0], plan[p, 1]
                transpose_into(target, at + start * channels, bins, start, n * n, channels)
            if past_caches:
                stream(flat_out, rows[r] * length, vector, length)
        if past_caches:
            finish_streams()
