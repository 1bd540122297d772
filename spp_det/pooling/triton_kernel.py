"""`pool_windows` on a GPU, by Triton: the same numbers as the CPU's kernel, since a maximum does not round.

A program pools some channels of one level of one window: all its bins at once, one cell of each at a time. A level
whose n divides a finer one's is taken from the bins of that; kernel.py says why it is the same.
"""

# ruff: noqa: N803 (Triton's constants are written large)

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

BLOCK = 32  # channels of a program


def pool_on_device(cells: Tensor, windows: Tensor, plan: list[list[int]], rows: Tensor, out: Tensor) -> None:
    """Pool windows int64 [R, 4] of a map [h, w, C] into the rows `rows` int64 [R] of `out` [*, C * bins].

    cells, out: of one type, float32, float16 or bfloat16, dense, all on one device. plan: that of `pool_kernel`.
    """
    _, width, channels = cells.shape
    length = out.shape[1]
    grid = len(windows), triton.cdiv(channels, BLOCK)
    with torch.device(cells.device):
        for n, start, fine, fine_start in plan:
            bins = triton.next_power_of_2(n * n)
            if fine:
                _from_level[grid](
                    out, rows, n, start * channels, fine, fine_start * channels, channels, length, BLOCK, bins
                )
            else:
                _from_map[grid](cells, windows, rows, out, n, start * channels, width, channels, length, BLOCK, bins)


@triton.jit
def _from_map(  # type: ignore[no-untyped-def]
    cells,
    windows,
    rows,
    out,
    n,
    start,
    map_width,
    channels,
    length,
    BLOCK: tl.constexpr,
    BINS: tl.constexpr,
):
    """A level of n x n bins, whose numbers begin at `start` in a vector, from the map [h, w, C]."""
    window = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    b = tl.arange(0, BINS)
    i, j = b // n, b % n
    left, top = tl.load(windows + 4 * window), tl.load(windows + 4 * window + 1)
    width = tl.load(windows + 4 * window + 2) - left + 1
    height = tl.load(windows + 4 * window + 3) - top + 1
    y0, y1 = top + i * height // n, top + ((i + 1) * height + n - 1) // n
    x0, x1 = left + j * width // n, left + ((j + 1) * width + n - 1) // n
    inside = (b < n * n)[:, None] & (channel < channels)[None, :]
    greatest = tl.full((BINS, BLOCK), float("-inf"), tl.float32)
    for dy in range((height + n - 1) // n + 1):
        y = tl.minimum(y0 + dy, y1 - 1)  # a bin that has no more cells looks at its last one again
        for dx in range((width + n - 1) // n + 1):
            x = tl.minimum(x0 + dx, x1 - 1)
            at = ((y * map_width + x) * channels)[:, None] + channel[None, :]
            greatest = tl.maximum(greatest, tl.load(cells + at, mask=inside, other=float("-inf")).to(tl.float32))
    there = tl.load(rows + window) * length + start + channel[None, :] * (n * n) + b[:, None]
    tl.store(out + there, greatest.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _from_level(  # type: ignore[no-untyped-def]
    out,
    rows,
    n,
    start,
    fine,
    fine_start,
    channels,
    length,
    BLOCK: tl.constexpr,
    BINS: tl.constexpr,
):
    """A level of n x n bins from one of fine x fine bins, n divides fine; both are levels of the same vector."""
    vector = tl.load(rows + tl.program_id(0)) * length
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    b = tl.arange(0, BINS)
    side = fine // n
    first = (b // n) * side * fine + (b % n) * side
    inside = (b < n * n)[:, None] & (channel < channels)[None, :]
    greatest = tl.full((BINS, BLOCK), float("-inf"), tl.float32)
    for dy in range(side):
        for dx in range(side):
            at = fine_start + channel[None, :] * (fine * fine) + (first + dy * fine + dx)[:, None]
            greatest = tl.maximum(greatest, tl.load(out + vector + at, mask=inside, other=float("-inf")).to(tl.float32))
    there = vector + start + channel[None, :] * (n * n) + b[:, None]
    tl.store(out + there, greatest.to(out.dtype.element_ty), mask=inside)
