"""Files that are whole or absent, and tensors in them. No pickle is read or written anywhere."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from spp_det.errors import DataError


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file aside, then rename it: a reader or a killed program never sees a half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def write_json(path: str | Path, value: Any) -> None:
    """JSON as text, keys in the order given, whole or absent."""
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """The value in a JSON file. Raises DataError for a file that is missing or not JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise DataError(path, "there is no such file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise DataError(path, f"is not JSON ({fault})") from None


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Named arrays as safetensors, whole or absent; the same arrays give the same bytes."""
    write_whole(path, safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()}))


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file. Raises DataError for a file that is missing or broken."""
    try:
        return safetensors.numpy.load(Path(path).read_bytes())
    except FileNotFoundError:
        raise DataError(path, "there is no such file") from None
    except safetensors.SafetensorError as fault:
        raise DataError(path, f"is not a safetensors file ({fault})") from None
