"""A .caffemodel in all its forms, byte by byte after protobuf's "Encoding" page and the numbers of caffe.proto."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5  # wire types
OLDEST, OLD, NEW = "2013", "2014", "now"  # the forms of a layer
TYPES = {  # by form
    OLDEST: {"convolution": b"conv", "inner product": b"innerproduct", "other": b"padding"},
    OLD: {"convolution": 4, "inner product": 14, "other": 15},
    NEW: {"convolution": b"Convolution", "inner product": b"InnerProduct", "other": b"BatchNorm"},
}


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number as 64 bits of two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    """A whole number, or bytes with their length before them."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value)
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def floats(number: int, values: Sequence[float], code: str, packed: bool) -> bytes:
    """code: "f" or "d"."""
    if packed:
        return field(number, struct.pack(f"<{len(values)}{code}", *values))
    tag = varint(number << 3 | (FOUR if code == "f" else EIGHT))
    return b"".join(tag + struct.pack(f"<{code}", value) for value in values)


def shape_of(dims: Sequence[int], legacy: bool, packed: bool = True) -> bytes:
    """The axes in a BlobShape, or as num, channels, height and width."""
    if legacy:
        four = [1] * (4 - len(dims)) + list(dims)
        return b"".join(field(1 + axis, size) for axis, size in enumerate(four))
    if packed:
        return field(7, field(1, b"".join(map(varint, dims))))
    return field(7, b"".join(field(1, size) for size in dims))


def blob(
    array: np.ndarray, legacy: bool = False, packed: bool = True, double: bool = False, diff: bool = False
) -> bytes:
    """BlobProto; with a diff as a snapshot of training has it, which is no weight."""
    values = array.ravel().tolist()
    numbers = floats(8, values, "d", packed) if double else floats(5, values, "f", packed)
    extra = floats(6, [7.0] * len(values), "f", packed) if diff else b""
    return numbers + extra + shape_of(array.shape, legacy, packed)


def layer(name: str, kind: str, blobs: Sequence[bytes], form: str = NEW, transposed: bool = False) -> bytes:
    """One field of the network; kind: "convolution", "inner product" or "other"."""
    type_ = TYPES[form][kind]
    bottom = [b"below", b"above"]
    if form == NEW:
        parts = [field(1, name.encode()), field(2, type_), *(field(3 + i, text) for i, text in enumerate(bottom))]
        parts += [field(7, each) for each in blobs]
        parts += [field(117, field(1, 5) + field(6, 1))] if transposed else []
        return field(100, b"".join(parts))
    if form == OLD:
        parts = [*(field(2 + i, text) for i, text in enumerate(bottom)), field(4, name.encode()), field(5, type_)]
        return field(2, b"".join([*parts, *(field(6, each) for each in blobs)]))
    inner = [field(1, name.encode()), field(2, type_), field(3, 7), *(field(50, each) for each in blobs)]
    return field(2, field(1, b"".join(inner)) + b"".join(field(2 + i, text) for i, text in enumerate(bottom)))


def network(layers: Sequence[bytes]) -> bytes:
    """NetParameter, with a name and inputs that nobody reads."""
    return field(1, b"net") + field(3, b"data") + b"".join(layers) + field(4, 10)
