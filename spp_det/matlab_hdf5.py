"""MATLAB's .mat of version 7.3, which is HDF5, for those who have h5py."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.errors import DataError
from spp_det.matlab import MAX_BYTES, MAX_DEPTH, BrokenMatError, object_array


def read_hdf5(path: Path, names: Collection[str] | None) -> dict[str, Any]:
    """As `matlab.read_mat`. Raises DataError without h5py, saying what to do."""
    try:
        import h5py  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise DataError(
            path, "is of MATLAB 7.3 (HDF5): `pip install h5py`, or in MATLAB load it and save it with '-v7'"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            wanted = [name for name in file if not name.startswith("#") and (names is None or name in names)]
            return {name: _value(file, file[name], 0) for name in wanted}
    except BrokenMatError as fault:
        raise DataError(path, f"is not a readable .mat ({fault})") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as fault:  # what h5py raises for damaged files
        raise DataError(path, f"is not a readable .mat of version 7.3 ({' '.join(str(fault).split())[:160]})") from None


def _value(file: Any, node: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BrokenMatError(f"cells and structs lie more than {MAX_DEPTH} deep")
    kind = bytes(node.attrs.get("MATLAB_class", b"")).decode("latin-1")
    if hasattr(node, "keys"):  # a group: a struct, or what MATLAB makes groups of besides
        fields = {name: _value(file, node[name], depth + 1) for name in node}
        return fields if kind == "struct" else None
    if not hasattr(node, "shape"):  # a type alone, which MATLAB does not write
        return None
    if node.attrs.get("MATLAB_empty", 0):
        return _empty(kind, tuple(int(n) for n in node[()]))
    if node.size * node.dtype.itemsize > MAX_BYTES:
        raise BrokenMatError(f"a variable has more than {MAX_BYTES >> 30} GiB")
    array = np.asarray(node[()]).T  # HDF5 has the last index fastest, MATLAB the first
    if array.dtype == object:  # references: a cell array, or one field of an array of structs
        return object_array([_value(file, file[ref], depth + 1) for ref in array.ravel(order="F")], array.shape)
    if kind == "char":
        rows = ["".join(map(chr, row)) for row in array]
        return rows[0] if len(rows) == 1 else object_array(rows, (len(rows),))
    return array if array.dtype.kind in "fiu" else None


def _empty(kind: str, dims: tuple[int, ...]) -> Any:
    if prod(dims):
        raise BrokenMatError(f"an empty variable has the dimensions {list(dims)}")
    if kind == "char":
        return ""
    if kind in ("cell", "struct"):
        return object_array([], dims)
    return np.zeros(dims)
