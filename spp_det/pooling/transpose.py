"""Transpose a block of floats in registers, for the compiled kernels.

The pooled bins come as one row of channels per bin, and are wanted as one row of bins per channel. Moved one number at
a time this takes longer than the pooling itself; 8 x 8 numbers at a time, by vector instructions, take half of that.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

SIDE = 8


@intrinsic
def _transpose_block(  # type: ignore[no-untyped-def]
    typing_context, source, source_at, source_step, target, target_at, target_step
) -> Any:
    """target[target_at + j * target_step + i] = source[source_at + i * source_step + j] for i, j in 0 .. SIDE - 1.

    source, target: contiguous float32 arrays, counted in numbers from their first; nothing checks the bounds.
    """
    signature = types.void(source, types.intp, types.intp, target, types.intp, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.FloatType(), SIDE)

        def row(array: int, i: int):  # type: ignore[no-untyped-def]
            data = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            start, step = arguments[array + 1], arguments[array + 2]
            place = builder.gep(data, [builder.add(start, builder.mul(step, ir.Constant(step.type, i)))])
            return builder.bitcast(place, vector.as_pointer())

        rows = [builder.load(row(0, i), align=4) for i in range(SIDE)]
        for half in (1, 2, 4):  # swap the off-diagonal quarters of blocks of 2, 4 and 8
            for i in (i for i in range(SIDE) if not i & half):
                above, below = rows[i], rows[i + half]
                upper = [j if not j & half else SIDE + j - half for j in range(SIDE)]
                lower = [j + half if not j & half else SIDE + j for j in range(SIDE)]
                rows[i] = builder.shuffle_vector(above, below, _indices(upper))
                rows[i + half] = builder.shuffle_vector(above, below, _indices(lower))
        for i in range(SIDE):
            builder.store(rows[i], row(3, i), align=4)
        return context.get_dummy_value()

    return signature, generate


def _indices(values: list[int]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), SIDE), values)


@njit(cache=True, nogil=True)
def transpose_into(target, target_at, source, first, count, width):  # type: ignore[no-untyped-def]
    """target[target_at + j * count + i] = source[first + i, j] for i < count, j < width.

    target: float32 [*]; source: float32 [*, at least width]; both contiguous.
    """
    step = source.shape[1]
    if count < SIDE or width < SIDE:
        for j in range(width):
            for i in range(count):
                target[target_at + j * count + i] = source[first + i, j]
        return
    for column in range(0, width, SIDE):
        j = min(column, width - SIDE)  # the last block overlaps the one before
        for row in range(0, count, SIDE):
            i = min(row, count - SIDE)
            _transpose_block(source, (first + i) * step + j, step, target, target_at + j * count + i, count)
