"""Transpose a block of numbers in registers, for the compiled kernels.

The pooled bins come as one row of channels per bin, and are wanted as one row of bins per channel. Moved one number at
a time this takes longer than the pooling itself; 8 x 8 numbers at a time, by vector instructions, take half of that.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from spp_det.pooling.vectors import place

SIDE = 8


def _rows(context: Any, builder: Any, kinds: Any, arguments: Any, count: int) -> list[Any]:
    """SIDE numbers of each of `count` rows of the source, an array, a place and a step, the first three arguments."""
    kind, (source, start, step) = kinds[0], arguments[:3]
    places = [builder.add(start, builder.mul(step, ir.Constant(step.type, i))) for i in range(count)]
    size = kind.dtype.bitwidth // 8
    return [builder.load(place(context, builder, kind, source, at, SIDE), align=size) for at in places]


def _store(context: Any, builder: Any, kinds: Any, target: Any, at: Any, row: Any) -> None:
    """A vector to a place in the target, the fourth argument."""
    there = place(context, builder, kinds[3], target, at, row.type.count)
    builder.store(row, there, align=kinds[3].dtype.bitwidth // 8)


@intrinsic
def _transpose_block(  # type: ignore[no-untyped-def]
    typing_context, source, source_at, source_step, target, target_at, target_step
) -> Any:
    """target[target_at + j * target_step + i] = source[source_at + i * source_step + j] for i, j in 0 .. SIDE - 1.

    source, target: contiguous arrays, counted in numbers from their first; nothing checks the bounds.
    """
    signature = types.void(source, types.intp, types.intp, target, types.intp, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows = _rows(context, builder, signature.args, arguments, SIDE)
        for half in (1, 2, 4):  # swap the off-diagonal quarters of blocks of 2, 4 and 8
            for i in (i for i in range(SIDE) if not i & half):
                above, below = rows[i], rows[i + half]
                upper = [j if not j & half else SIDE + j - half for j in range(SIDE)]
                lower = [j + half if not j & half else SIDE + j for j in range(SIDE)]
                rows[i] = builder.shuffle_vector(above, below, _indices(upper))
                rows[i + half] = builder.shuffle_vector(above, below, _indices(lower))
        target, start, step = arguments[3:]
        for i, row in enumerate(rows):
            at = builder.add(start, builder.mul(step, ir.Constant(step.type, i)))
            _store(context, builder, signature.args, target, at, row)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _transpose_four(typing_context, source, source_at, source_step, target, target_at) -> Any:  # type: ignore[no-untyped-def]
    """target[target_at + j * 4 + i] = source[source_at + i * source_step + j] for i in 0 .. 3, j in 0 .. SIDE - 1."""
    signature = types.void(source, types.intp, types.intp, target, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows = _rows(context, builder, signature.args, arguments, 4)
        pairs = [i // 2 + SIDE * (i % 2) for i in range(2 * SIDE)]
        upper, lower = (builder.shuffle_vector(rows[i], rows[i + 1], _indices(pairs)) for i in (0, 2))
        fours = [i // 4 * 2 + i % 2 + 2 * SIDE * (i % 4 // 2) for i in range(4 * SIDE)]
        mixed = builder.shuffle_vector(upper, lower, _indices(fours))
        _store(context, builder, signature.args, arguments[3], arguments[4], mixed)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _copy_row(typing_context, source, source_at, source_step, target, target_at) -> Any:  # type: ignore[no-untyped-def]
    """target[target_at + j] = source[source_at + j] for j in 0 .. SIDE - 1."""
    signature = types.void(source, types.intp, types.intp, target, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        (row,) = _rows(context, builder, signature.args, arguments, 1)
        _store(context, builder, signature.args, arguments[3], arguments[4], row)
        return context.get_dummy_value()

    return signature, generate


def _indices(values: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(values)), values)


@njit(cache=True, nogil=True)
def transpose_into(target, target_at, source, first, count, width):  # type: ignore[no-untyped-def]
    """target[target_at + j * count + i] = source[first + i, j] for i < count, j < width.

    target: [*]; source: [*, at least width]; both contiguous, of one type, float32 or int16.
    """
    step = source.shape[1]
    if width < SIDE or (count < SIDE and count != 1 and count != 4):
        for j in range(width):
            for i in range(count):
                target[target_at + j * count + i] = source[first + i, j]
        return
    for column in range(0, width, SIDE):
        j = min(column, width - SIDE)  # the last block overlaps the one before
        if count == 1:
            _copy_row(source, first * step + j, step, target, target_at + j)
        elif count == 4:
            _transpose_four(source, first * step + j, step, target, target_at + 4 * j)
        else:
            for row in range(0, count, SIDE):
                i = min(row, count - SIDE)
                _transpose_block(source, (first + i) * step + j, step, target, target_at + j * count + i, count)
