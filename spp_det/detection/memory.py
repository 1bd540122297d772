"""What classes that were added were trained on, and what else the training images hold, in files beside a detector."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spp_det.errors import DataError
from spp_det.files import read_arrays, write_arrays
from spp_det.training import RegressionMemory, SvmMemory
from spp_det.training.source import Vectors

FOLDER = "examples"  # of the added classes, a file each
BACKGROUND = "background.safetensors"
CALIBRATION = "calibration.safetensors"


@dataclass(frozen=True, eq=False)
class ClassMemory:
    """The examples of one added class: of its SVM, and of its box regressor where the detector has one."""

    svm: SvmMemory
    regression: RegressionMemory | None


def memory_path(folder: Path, name: str) -> Path:
    """Where the memory of a class lies; a name may hold any letters, so it is hashed."""
    return folder / FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"


def write_memory(folder: Path, name: str, memory: ClassMemory) -> None:
    """Write the memory of a class, whole or not at all."""
    svm, regression = memory.svm, memory.regression
    arrays: dict[str, np.ndarray] = {"positives": svm.positives, "negatives": svm.negatives, "duals": svm.duals}
    if regression is not None:
        arrays |= {"features": regression.features, "offsets": regression.offsets}
    write_arrays(memory_path(folder, name), arrays)


def read_memory(folder: Path, name: str) -> ClassMemory | None:
    """The memory of a class, None where there is none. Raises DataError for a broken file."""
    path = memory_path(folder, name)
    if not path.exists():
        return None
    arrays = read_arrays(path)
    try:
        svm = SvmMemory(arrays["positives"], arrays["negatives"], arrays["duals"])
        pooled = RegressionMemory(arrays["features"], arrays["offsets"]) if "features" in arrays else None
    except KeyError as name:
        raise DataError(path, f"holds no examples of a class: it lacks {name}") from None
    return ClassMemory(svm, pooled)


def write_background(folder: Path, vectors: Vectors) -> None:
    """Vectors of windows of the training images at the SVMs' layer, unscaled, float32 [N, D]; stored as float16."""
    write_arrays(folder / BACKGROUND, {"vectors": vectors.astype(np.float16)})


def read_background(folder: Path) -> Vectors | None:
    """Those vectors, float32 [N, D], None where there are none. Raises DataError for a broken file."""
    path = folder / BACKGROUND
    if not path.exists():
        return None
    arrays = read_arrays(path)
    if "vectors" not in arrays:
        raise DataError(path, "holds no vectors of windows")
    return arrays["vectors"].astype(np.float32)


def forget(folder: Path) -> None:
    """Remove what was remembered beside an older detector, whose vectors and scores mean nothing to a new one."""
    if (folder / FOLDER).is_dir():
        for path in (folder / FOLDER).iterdir():
            path.unlink()
        (folder / FOLDER).rmdir()
    for name in (BACKGROUND, CALIBRATION):
        (folder / name).unlink(missing_ok=True)
