"""MATLAB's files of variables (.mat): version 5, as `save` writes it by default, and 7.3 where h5py is installed.

This is not left to scipy.io.loadmat: a damaged file can end the whole process there, and a check of every size before
it, on which that depends, is all of the work of reading. Nothing here trusts a size: each is held against the bytes
that are there before any memory is taken. The format is MathWorks' "MAT-File Format", Level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.errors import DataError

MAX_BYTES = 4 << 30  # of a file, and of a variable unpacked
MAX_DEPTH = 32  # of cells and structs within each other
_MAX_DIMS = 32

_HEADER = 128
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_ENCODINGS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_COMPLEX = 0x800

Element = tuple[int, memoryview]


class BrokenMatError(Exception):
    """Bytes that are no MATLAB variable; `read_mat` makes a DataError of it."""


def read_mat(path: str | PathLike[str], names: Collection[str] | None = None) -> dict[str, Any]:
    """The variables of a .mat file by name, or those of `names` that it has.

    Numbers become arrays of their MATLAB class and dimensions; a row of characters a str, several rows an object array
    of them; a cell array an object array; a struct a dict, an array of structs an object array of dicts. None stands
    for what is not read: sparse and complex numbers, objects, function handles.

    Raises DataError where the file is missing, of another format, broken or larger than MAX_BYTES, and for a file of
    version 7.3 (HDF5) without h5py.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "there is no such .mat file")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(path, f"has more than {MAX_BYTES >> 30} GiB, which is not read")
    with path.open("rb") as file:
        start = file.read(_HEADER)
    if start.startswith((b"MATLAB 7.3", b"\x89HDF")):
        from spp_det.matlab_hdf5 import read_hdf5  # only for those who have h5py

        return read_hdf5(path, names)
    try:
        return _read_level5(memoryview(path.read_bytes()), names)
    except BrokenMatError as fault:
        raise DataError(path, f"is not a readable .mat ({fault})") from None


def object_array(values: list[Any], dims: tuple[int, ...]) -> npt.NDArray[np.object_]:
    """An object array of MATLAB's dimensions from its values in MATLAB's order, the first index fastest."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(dims, order="F")


def _read_level5(content: memoryview, names: Collection[str] | None) -> dict[str, Any]:
    mark = bytes(content[_HEADER - 2 : _HEADER])
    if mark not in (b"IM", b"MI"):
        raise BrokenMatError("it does not begin as a MATLAB 5 file does")
    order = "<" if mark == b"IM" else ">"
    (version,) = struct.unpack(f"{order}H", content[_HEADER - 4 : _HEADER - 2])
    if version != 0x0100:
        raise BrokenMatError(f"its version is {version:#06x}, not 0x0100")
    variables = {}
    for kind, data in _elements(content[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, data = _unpack(data, order)
        matrix = _Matrix.open(kind, data, order)
        if names is None or matrix.name in names:
            variables[matrix.name] = matrix.value(0)
    return variables


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """(type, its bytes) of each data element, one behind the other; small ones lie within their own header."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise BrokenMatError("it ends within an element's header")
        kind, size = struct.unpack(f"{order}II", data[at : at + 8])
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise BrokenMatError(f"a small element claims {size} bytes")
        if size > len(data) - start:
            raise BrokenMatError(f"an element claims {size} bytes, {len(data) - start} are left")
        yield kind, data[start : start + size]
        at = start + size
        if kind != _COMPRESSED:
            at += -at % 8


def _unpack(data: memoryview, order: str) -> Element:
    """The one element in compressed bytes, which says its own size."""
    unpacker = zlib.decompressobj()
    try:
        head = unpacker.decompress(data, 8)
        if len(head) < 8:
            raise BrokenMatError("a compressed variable is cut short")
        kind, size = struct.unpack(f"{order}II", head)
        if size > MAX_BYTES:
            raise BrokenMatError(f"a variable has more than {MAX_BYTES >> 30} GiB")
        body = unpacker.decompress(unpacker.unconsumed_tail, size) if size else b""
    except zlib.error as fault:
        raise BrokenMatError(f"a compressed variable is damaged: {fault}") from None
    if len(body) < size:
        raise BrokenMatError(f"a compressed variable claims {size} bytes and holds {len(body)}")
    return kind, memoryview(body)


@dataclass(frozen=True)
class _Matrix:
    """One MATLAB array: what its header says, and the elements behind that, which are not read yet."""

    name: str
    kind: int
    complex: bool
    dims: tuple[int, ...]
    rest: Iterator[Element]
    size: int  # bytes of all of it
    order: str

    @classmethod
    def open(cls, kind: int, data: memoryview, order: str) -> _Matrix:
        if kind != _MATRIX:
            raise BrokenMatError(f"an element of type {kind} stands where a variable should")
        if not len(data):  # as MATLAB writes a cell that was never set
            return cls("", 6, False, (0, 0), iter([(9, data)]), 0, order)
        rest = _elements(data, order)
        flags = _take(rest, (_UINT32,), "flags")
        if len(flags) != 8:
            raise BrokenMatError(f"the flags of a variable have {len(flags)} bytes, not 8")
        (word, _) = struct.unpack(f"{order}II", flags)
        dims = tuple(int(n) for n in _numbers(_take(rest, (_INT32,), "dimensions"), f"{order}i4"))
        if not 2 <= len(dims) <= _MAX_DIMS or min(dims) < 0:
            raise BrokenMatError(f"a variable has the dimensions {list(dims[:8])}")
        name = bytes(_take(rest, (_INT8, 2), "name")).decode("latin-1")
        return cls(name, word & 0xFF, bool(word & _COMPLEX), dims, rest, len(data), order)

    def value(self, depth: int) -> Any:
        """The array as `read_mat` gives it."""
        if depth > MAX_DEPTH:
            raise BrokenMatError(f"cells and structs lie more than {MAX_DEPTH} deep")
        if self.kind == _CELL:
            return object_array(self._children(prod(self.dims), depth), self.dims)
        if self.kind == _STRUCT:
            return self._struct(depth)
        if self.kind == _CHAR:
            return self._text()
        if self.kind in _NUMBERS and not self.complex:
            return self._array()
        return None

    def _array(self) -> npt.NDArray[Any]:
        stored, data = self._numbers_element()
        wanted = np.dtype(_NUMBERS[self.kind])
        if stored.kind == "f" and wanted.kind != "f":
            raise BrokenMatError(f"{self.name or 'a variable'} has fractions where whole numbers belong")
        array = _numbers(data, stored)
        if len(array) != prod(self.dims):
            raise BrokenMatError(
                f"{self.name or 'a variable'} has the dimensions {list(self.dims)}, but {len(array)} numbers"
            )
        with np.errstate(over="ignore"):  # doubles in a single
            return array.astype(wanted).reshape(self.dims, order="F")

    def _numbers_element(self) -> tuple[np.dtype[Any], memoryview]:
        kind, data = _next(self.rest, "numbers")
        if kind not in _STORED:
            raise BrokenMatError(f"numbers are of the unknown type {kind}")
        return np.dtype(_STORED[kind]).newbyteorder("<" if self.order == "<" else ">"), data

    def _text(self) -> str | npt.NDArray[np.object_]:
        kind, data = _next(self.rest, "characters")
        if kind not in _ENCODINGS:
            raise BrokenMatError(f"characters are of the unknown type {kind}")
        encoding = _ENCODINGS[kind]
        if encoding != "utf-8":
            encoding += "-le" if self.order == "<" else "-be"
        try:
            text = bytes(data).decode(encoding)
        except UnicodeDecodeError as fault:
            raise BrokenMatError(f"characters are no {fault.encoding}") from None
        rows = self.dims[0]
        if rows <= 1 or not text:
            return text
        if len(text) != prod(self.dims):
            raise BrokenMatError(f"{list(self.dims)} characters are {len(text)}")
        return object_array([text[row::rows] for row in range(rows)], (rows,))

    def _struct(self, depth: int) -> Any:
        width = _numbers(_take(self.rest, (_INT32,), "length of field names"), f"{self.order}i4")
        packed = bytes(_take(self.rest, (_INT8,), "field names"))
        if len(width) != 1 or width[0] < 1 or len(packed) % width[0]:
            raise BrokenMatError("the field names of a struct are damaged")
        step = int(width[0])
        fields = [packed[i : i + step].split(b"\0")[0].decode("latin-1") for i in range(0, len(packed), step)]
        if len(set(fields)) < len(fields):
            raise BrokenMatError("a struct has two fields of one name")
        count = prod(self.dims)
        values = self._children(count * len(fields), depth, at_least=count)
        structs = [dict(zip(fields, values[i * len(fields) :], strict=False)) for i in range(count)]
        return structs[0] if count == 1 else object_array(structs, self.dims)

    def _children(self, count: int, depth: int, at_least: int = 0) -> list[Any]:
        """The values of as many arrays as follow; each takes 8 bytes or more, so `count` is bounded by the file."""
        if max(count, at_least) * 8 > self.size:
            raise BrokenMatError(f"{self.name or 'a variable'} claims {count} elements in {self.size} bytes")
        return [_Matrix.open(*_next(self.rest, "a cell or field"), self.order).value(depth + 1) for _ in range(count)]


def _next(elements: Iterator[Element], what: str) -> Element:
    element = next(elements, None)
    if element is None:
        raise BrokenMatError(f"it ends before {what}")
    return element


def _take(elements: Iterator[Element], kinds: tuple[int, ...], what: str) -> memoryview:
    kind, data = _next(elements, what)
    if kind not in kinds:
        raise BrokenMatError(f"an element of type {kind} stands where {what} should")
    return data


def _numbers(data: memoryview, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    if len(data) % np.dtype(dtype).itemsize:
        raise BrokenMatError(f"{len(data)} bytes are no whole numbers of {np.dtype(dtype).itemsize}")
    return np.frombuffer(data, dtype)
