"""Vector instructions for the compiled kernels: maxima of rows of floats, and stores that go past the caches.

numba makes a view, and counts its references, for each row of an array that a loop takes; for the short rows of a map
this takes as long as the maxima. These work on flat arrays and places in them, WIDTH numbers at a time.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

WIDTH = 16  # float32 numbers in a cache line

_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """A pointer to WIDTH numbers of a flat array; nothing checks the bounds."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())


def _greater(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def _max_of_four(typing_context, target, t, source, a, b, c, d) -> Any:  # type: ignore[no-untyped-def]
    """target[t:] = the maxima of source[a:], source[b:], source[c:] and source[d:], WIDTH numbers each."""
    signature = types.void(target, types.intp, source, types.intp, types.intp, types.intp, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        loads = [builder.load(_place(context, builder, kinds[2], arguments[2], at), align=4) for at in arguments[3:7]]
        top, bottom = _greater(builder, loads[0], loads[1]), _greater(builder, loads[2], loads[3])
        target_place = _place(context, builder, kinds[0], arguments[0], arguments[1])
        builder.store(_greater(builder, top, bottom), target_place, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _raise_to(typing_context, target, t, source, a) -> Any:  # type: ignore[no-untyped-def]
    """target[t:] = the maxima of target[t:] and source[a:], WIDTH numbers each."""
    signature = types.void(target, types.intp, source, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        place = _place(context, builder, kinds[0], arguments[0], arguments[1])
        value = builder.load(_place(context, builder, kinds[2], arguments[2], arguments[3]), align=4)
        builder.store(_greater(builder, value, builder.load(place, align=4)), place, align=4)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _stream(typing_context, target, t, source, a) -> Any:  # type: ignore[no-untyped-def]
    """target[t:] = source[a:], WIDTH numbers; target[t] begins a cache line, which is not read before it is written."""
    signature = types.void(target, types.intp, source, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        value = builder.load(_place(context, builder, kinds[2], arguments[2], arguments[3]), align=4)
        place = _place(context, builder, kinds[0], arguments[0], arguments[1])
        store = builder.store(value, place, align=4 * WIDTH)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _to_line(typing_context, array, at) -> Any:  # type: ignore[no-untyped-def]
    """The numbers between array[at] and the next one that begins a cache line."""
    signature = types.intp(array, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        address = builder.ptrtoint(_place(context, builder, signature.args[0], *arguments), word)
        short = builder.and_(builder.neg(address), ir.Constant(word, 4 * WIDTH - 1))
        return builder.udiv(short, ir.Constant(word, 4))

    return signature, generate


@intrinsic
def finish_streams(typing_context) -> Any:  # type: ignore[no-untyped-def]
    """Other threads see all that this one has streamed."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@njit(cache=True, nogil=True)
def max_of_four(target, t, source, a, b, c, d, count):  # type: ignore[no-untyped-def]
    """target[t + k] = the greatest of source[a + k], source[b + k], source[c + k], source[d + k] for k < count.

    Flat float32 arrays; count is a multiple of WIDTH. The target may be one of the four.
    """
    for k in range(0, count, WIDTH):
        _max_of_four(target, t + k, source, a + k, b + k, c + k, d + k)


@njit(cache=True, nogil=True)
def raise_to(target, t, source, a, count):  # type: ignore[no-untyped-def]
    """target[t + k] = the greater of itself and source[a + k] for k < count, a multiple of WIDTH."""
    for k in range(0, count, WIDTH):
        _raise_to(target, t + k, source, a + k)


@njit(cache=True, nogil=True)
def stream(target, t, source, count):  # type: ignore[no-untyped-def]
    """target[t + k] = source[k] for k < count, flat float32 arrays, past the caches; `finish_streams` ends it."""
    head = min(_to_line(target, t), count)
    whole = head + (count - head) // WIDTH * WIDTH
    for k in range(head):
        target[t + k] = source[k]
    for k in range(head, whole, WIDTH):
        _stream(target, t + k, source, k)
    for k in range(whole, count):
        target[t + k] = source[k]
