"""`pool_windows` on a GPU, by Triton: the same numbers as the CPU's kernel, since a maximum does not round.

A program pools some channels of one window, level by level: all bins of a level at once, one cell of each at a time. A
level whose n divides a finer one's is taken from the bins of that; kernel.py says why it is the same.
"""

# ruff: noqa: N803 (Triton's constants are written large)

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

BLOCK, WARPS = 64, 2  # channels and warps of a program


def pool_on_device(
    cells: Tensor, windows: Tensor, plan: Sequence[Sequence[int]], out: Tensor, rows: Tensor | None = None
) -> None:
    """Pool windows of maps that lie one behind the other.

    cells: [*, C], those of all maps; windows: integers [R, 6], of each the first cell of its map, the cells in a row of
    that map, and its own on it, (x0, y0, x1, y1), both ends within; plan: that of `pool_kernel`; out: [*, C * bins] of
    the type of `cells`, float32, float16 or bfloat16; rows: int64 [R], that of each window there, None for r of r.
    All are dense and on one device.
    """
    channels = cells.shape[1]
    grid = len(windows), triton.cdiv(channels, BLOCK)
    levels = tuple((*map(int, level), triton.next_power_of_2(int(level[0]) ** 2)) for level in plan)
    with torch.cuda.device_of(cells):
        _pool[grid](cells, windows, rows, out, channels, out.shape[1], levels, BLOCK, num_warps=WARPS)


@triton.jit
def _pool(cells, windows, rows, out, channels, length, LEVELS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    window = tl.program_id(0).to(tl.int64)
    row = window
    if rows is not None:
        row = tl.load(rows + window)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    for level in tl.static_range(len(LEVELS)):
        if LEVELS[level][2] > 0:
            tl.debug_barrier()  # the finer level has been written
            _from_level(
                out + row * length,
                channels,
                channel,
                LEVELS[level][0],
                LEVELS[level][1],
                LEVELS[level][2],
                LEVELS[level][3],
                LEVELS[level][4],
            )
        else:
            _from_map(
                cells,
                windows + 6 * window,
                out + row * length,
                channels,
                channel,
                LEVELS[level][0],
                LEVELS[level][1],
                LEVELS[level][4],
            )


@triton.jit
def _from_map(  # type: ignore[no-untyped-def]
    cells, window, out, channels, channel, N: tl.constexpr, START: tl.constexpr, BINS: tl.constexpr
):
    """A level of N x N bins from the map. START: bins before it in a vector; BINS: N * N or more, a power of two."""
    b = tl.arange(0, BINS)
    i, j = b // N, b % N
    first, across = tl.load(window).to(tl.int64), tl.load(window + 1).to(tl.int64)
    left, top = tl.load(window + 2), tl.load(window + 3)
    width, height = tl.load(window + 4) - left + 1, tl.load(window + 5) - top + 1
    y0, y1 = top + i * height // N, top + ((i + 1) * height + N - 1) // N
    x0, x1 = left + j * width // N, left + ((j + 1) * width + N - 1) // N
    inside = (b < N * N)[:, None] & (channel < channels)[None, :]
    greatest = tl.full((BINS, channel.shape[0]), float("-inf"), tl.float32)
    for dy in range((height + N - 1) // N + 1):
        y = tl.minimum(y0 + dy, y1 - 1)  # a bin that has no more cells looks at its last one again
        for dx in range((width + N - 1) // N + 1):
            x = tl.minimum(x0 + dx, x1 - 1)
            at = ((first + y * across + x) * channels)[:, None] + channel[None, :]
            greatest = tl.maximum(greatest, tl.load(cells + at, mask=inside, other=float("-inf")).to(tl.float32))
    there = START * channels + channel[None, :] * (N * N) + b[:, None]
    tl.store(out + there, greatest.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _from_level(  # type: ignore[no-untyped-def]
    out,
    channels,
    channel,
    N: tl.constexpr,
    START: tl.constexpr,
    FINE: tl.constexpr,
    FINE_START: tl.constexpr,
    BINS: tl.constexpr,
):
    """A level from one of FINE x FINE bins of the same vector, N divides FINE."""
    b = tl.arange(0, BINS)
    corner = (b // N) * (FINE // N) * FINE + (b % N) * (FINE // N)
    inside = (b < N * N)[:, None] & (channel < channels)[None, :]
    greatest = tl.full((BINS, channel.shape[0]), float("-inf"), tl.float32)
    for dy in range(FINE // N):
        for dx in range(FINE // N):
            at = FINE_START * channels + channel[None, :] * (FINE * FINE) + (corner + dy * FINE + dx)[:, None]
            greatest = tl.maximum(greatest, tl.load(out + at, mask=inside, other=float("-inf")).to(tl.float32))
    there = START * channels + channel[None, :] * (N * N) + b[:, None]
    tl.store(out + there, greatest.to(out.dtype.element_ty), mask=inside)
