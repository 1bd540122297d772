"""Where long work stands, in one file that is whole or absent: arrays, and a state as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.errors import DataError, SppDetError
from spp_det.files import read_arrays, write_arrays

Arrays = dict[str, np.ndarray]


def write_state(path: Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
    """Arrays and, beside them as JSON, a state, into one safetensors file. Equal content gives equal bytes."""
    write_arrays(path, {**arrays, "state": np.frombuffer(json.dumps(state).encode(), np.uint8)})


def read_state(path: Path, settings: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """Undo `write_state`, for a run of these settings, which the state holds under "settings".

    Raises DataError where the file is broken or no checkpoint, SppDetError where it is another run's.
    """
    arrays = read_arrays(path)
    try:
        state = json.loads(arrays.pop("state").tobytes())
        theirs = state["settings"]
    except (KeyError, TypeError, ValueError):
        raise DataError(path, "is not a checkpoint of training") from None
    if theirs != json.loads(json.dumps(settings)):
        raise SppDetError(f"{path}: was written with other settings or data; remove it to start again")
    return arrays, state


def peek_state(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, whoever wrote it. Raises DataError where it is broken or none."""
    try:
        return json.loads(read_arrays(path)["state"].tobytes())
    except (KeyError, ValueError):
        raise DataError(path, "is not a checkpoint of training") from None
