"""Files that are whole or absent, and arrays in them. No pickle is read or written anywhere."""

from __future__ import annotations

import contextlib
import json
import secrets
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from spp_det.errors import DataError
from spp_det.places import as_path, is_remote

MAX_UNPACKED = 4 << 30  # bytes that an .npz may hold, unpacked


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file aside, then rename it: a reader or a killed program never sees a half of it."""
    path = as_path(path)
    if is_remote(path):  # storage of this kind shows an object once it is whole
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")  # another machine's process may write it too
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except BaseException as fault:
        with contextlib.suppress(OSError):
            aside.unlink()
        if isinstance(fault, OSError):
            raise named_fault(fault, path) from None
        raise


def named_fault(fault: OSError, path: str | Path) -> OSError:
    """The same fault of the system with the file that it is about: a full disk names none by itself."""
    return OSError(fault.errno, fault.strerror, str(path))


def write_json(path: str | Path, value: Any) -> None:
    """JSON as text, keys in the order given, whole or absent."""
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """The value in a JSON file. Raises DataError for a file that is missing or not JSON."""
    try:
        return json.loads(as_path(path).read_bytes())
    except FileNotFoundError:
        raise DataError(path, "there is no such file") from None
    except RecursionError:
        raise DataError(path, "is JSON that is nested too deep") from None
    except ValueError as fault:  # also of numbers with thousands of digits
        raise DataError(path, f"is not JSON ({fault})") from None


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Named arrays as safetensors, whole or absent; the same arrays give the same bytes."""
    write_whole(path, arrays_to_bytes(arrays))


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file. Raises DataError for a file that is missing or broken."""
    try:
        return arrays_from_bytes(as_path(path).read_bytes(), path)
    except FileNotFoundError:
        raise DataError(path, "there is no such file") from None


def arrays_to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as the content of a safetensors file."""
    return safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def arrays_from_bytes(content: bytes, name: str | Path) -> dict[str, np.ndarray]:
    """The arrays in the content of a safetensors file. Raises DataError, which names `name`, where it is none."""
    try:
        return safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as fault:  # also of types that numpy lacks
        raise DataError(name, f"is not a safetensors file of numbers ({fault})") from None


def read_npz(path: str | Path, max_bytes: int = MAX_UNPACKED) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file, without pickles.

    Raises DataError for a file that is missing, broken, holds objects, or has more than `max_bytes` unpacked; no
    memory is taken for more than the file says that it holds.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if sum(entry.file_size for entry in file.infolist()) > max_bytes:
                raise DataError(path, f"holds more than {max_bytes:,} bytes unpacked, which is not read")
            arrays = {}
            for entry in file.infolist():
                with file.open(entry) as stream:
                    arrays[entry.filename.removesuffix(".npy")] = _read_npy(stream, entry.file_size)
            return arrays
    except FileNotFoundError:
        raise DataError(path, "there is no such file") from None
    except _NPZ_FAULTS as fault:
        raise DataError(path, f"is not a readable .npz ({fault})") from None


# What zipfile, zlib and numpy raise for broken bytes; RuntimeError is zipfile's for an encrypted entry.
_NPZ_FAULTS = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    TypeError,
    KeyError,
    IndexError,
    SyntaxError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)


def _read_npy(stream: IO[bytes], size: int) -> np.ndarray:
    """One array of an entry of `size` bytes. Raises what _NPZ_FAULTS names."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of the format {version}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("an array of objects, which is a pickle")
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize > size or not dtype.itemsize:
        raise ValueError(f"an array that claims the shape {list(shape)} in {size} bytes")
    content = stream.read(prod(shape) * dtype.itemsize)
    stream.read()  # to the end, where the checksum is compared
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").copy(order="K")
