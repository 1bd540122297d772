"""Vector instructions for the compiled kernels: maxima of rows of numbers, and stores that go past the caches.

numba makes a view, and counts its references, for each row of an array that a loop takes; for the short rows of a map
this takes as long as the maxima. These work on flat arrays and places in them, a cache line of LINE bytes at a time:
16 numbers of float32, or 32 of int16, as which pool.py presents bfloat16.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

LINE = 64  # bytes of a cache line

_ELEMENTS = {types.float32: ir.FloatType(), types.int16: ir.IntType(16)}


def place(context: Any, builder: Any, kind: Any, array: Any, at: Any, count: int) -> Any:
    """A pointer to a vector of `count` numbers of a flat array; nothing checks the bounds."""
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(_ELEMENTS[kind.dtype], count)
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def _line(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return place(context, builder, kind, array, at, LINE // _size(kind))


def _size(kind: Any) -> int:
    return kind.dtype.bitwidth // 8


def _load(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return builder.load(_line(context, builder, kind, array, at), align=_size(kind))


def _greater(builder: Any, kind: Any, a: Any, b: Any) -> Any:
    compare = builder.fcmp_ordered if kind.dtype == types.float32 else builder.icmp_signed
    return builder.select(compare(">", a, b), a, b)


@intrinsic
def _max_of_four(typing_context, target, t, source, a, b, c, d) -> Any:  # type: ignore[no-untyped-def]
    """target[t:] = the maxima of source[a:], source[b:], source[c:] and source[d:], one line each."""
    signature = types.void(target, types.intp, source, types.intp, types.intp, types.intp, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[2]
        loads = [_load(context, builder, kind, arguments[2], at) for at in arguments[3:7]]
        top, bottom = _greater(builder, kind, loads[0], loads[1]), _greater(builder, kind, loads[2], loads[3])
        target_place = _line(context, builder, signature.args[0], arguments[0], arguments[1])
        builder.store(_greater(builder, kind, top, bottom), target_place, align=_size(kind))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _raise_to(typing_context, target, t, source, a) -> Any:  # type: ignore[no-untyped-def]
    """target[t:] = the maxima of target[t:] and source[a:], one line each."""
    signature = types.void(target, types.intp, source, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        own = _line(context, builder, kind, arguments[0], arguments[1])
        value = _load(context, builder, signature.args[2], arguments[2], arguments[3])
        builder.store(_greater(builder, kind, value, builder.load(own, align=_size(kind))), own, align=_size(kind))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _reorder(typing_context, array, at) -> Any:  # type: ignore[no-untyped-def]
    """One line of the bits of bfloat16 made integers of the same order; twice, and they are what they were.

    Those of negative numbers grow as the numbers shrink: all their bits but the sign are turned round.
    """
    signature = types.void(array, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        if kind.dtype != types.int16:  # floats are in order as they are
            return context.get_dummy_value()
        own = _line(context, builder, kind, *arguments)
        bits = builder.load(own, align=2)
        sign = builder.ashr(bits, ir.Constant(bits.type, [15] * bits.type.count))
        turned = builder.and_(sign, ir.Constant(bits.type, [0x7FFF] * bits.type.count))
        builder.store(builder.xor(bits, turned), own, align=2)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _stream(typing_context, target, t, source, a) -> Any:  # type: ignore[no-untyped-def]
    """target[t:] = source[a:], one line; target[t] begins a cache line, which is not read before it is written."""
    signature = types.void(target, types.intp, source, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value = _load(context, builder, signature.args[2], arguments[2], arguments[3])
        store = builder.store(value, _line(context, builder, signature.args[0], *arguments[:2]), align=LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _to_line(typing_context, array, at) -> Any:  # type: ignore[no-untyped-def]
    """The numbers between array[at] and the next one that begins a cache line."""
    signature = types.intp(array, types.intp)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, kind = ir.IntType(64), signature.args[0]
        address = builder.ptrtoint(_line(context, builder, kind, *arguments), word)
        short = builder.and_(builder.neg(address), ir.Constant(word, LINE - 1))
        return builder.udiv(short, ir.Constant(word, _size(kind)))

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

    Flat arrays of one type; count is a multiple of what a line holds. The target may be one of the four.
    """
    for k in range(0, count, LINE // source.itemsize):
        _max_of_four(target, t + k, source, a + k, b + k, c + k, d + k)


@njit(cache=True, nogil=True)
def raise_to(target, t, source, a, count):  # type: ignore[no-untyped-def]
    """target[t + k] = the greater of itself and source[a + k] for k < count, a multiple of what a line holds."""
    for k in range(0, count, LINE // source.itemsize):
        _raise_to(target, t + k, source, a + k)


@njit(cache=True, nogil=True)
def reorder(bits, start, count):  # type: ignore[no-untyped-def]
    """Make bits[start:] of bfloat16, flat int16, integers of the same order, or undo it; whole lines of `count`."""
    for k in range(start, start + count, LINE // bits.itemsize):
        _reorder(bits, k)


@njit(cache=True, nogil=True)
def stream(target, t, source, count):  # type: ignore[no-untyped-def]
    """target[t + k] = source[k] for k < count, flat arrays of one type, past the caches; `finish_streams` ends it."""
    step = LINE // source.itemsize
    head = min(_to_line(target, t), count)
    whole = head + (count - head) // step * step
    for k in range(head):
        target[t + k] = source[k]
    for k in range(head, whole, step):
        _stream(target, t + k, source, k)
    for k in range(whole, count):
        target[t + k] = source[k]
