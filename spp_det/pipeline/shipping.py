"""Make the detector that comes with the package out of a trained run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from spp_det.config import config_to_toml, load_config
from spp_det.detection.bundle import FIRST_LOOK, WEIGHT_FILES, load_detector
from spp_det.errors import ConfigError, DataError
from spp_det.files import read_arrays, write_arrays, write_whole

LARGEST = 20_000_000  # bytes of all files together


def ship_run(run: Path, out: Path, root: str = "data/VOCdevkit") -> int:
    """Copy a run's detector into a folder, its weights in float16; returns the bytes written.

    root: where its configuration looks for the data set, in place of this machine's folder. Raises DataError for a run
    that is not whole or whose files are over LARGEST bytes, ConfigError for one that is not calibrated or whose trunk
    does not come with a package.
    """
    detector = load_detector(run)
    if detector.calibration is None:
        raise ConfigError(f"{run}: is not calibrated; spp-det calibrate does that")
    config = load_config(run / "config.toml")
    if config.trunk.weights != "default":
        raise ConfigError(f"{run}: its trunk's weights ({config.trunk.weights}) do not come with a package")
    config = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, root=root))
    (out / "detector.json").unlink(missing_ok=True)  # no half of an old detector counts as whole
    paths = []
    for name in filter(lambda name: (run / name).exists(), WEIGHT_FILES):
        paths.append(out / name)
        arrays = read_arrays(run / name)
        write_arrays(paths[-1], arrays if name == FIRST_LOOK else _halved(arrays))  # its digest is in detector.json
    write_whole(out / "config.toml", config_to_toml(config).encode())
    write_whole(out / "detector.json", (run / "detector.json").read_bytes())
    size = sum(path.stat().st_size for path in paths)
    if size > LARGEST:
        (out / "detector.json").unlink()
        raise DataError(out, f"{size:,} bytes are more than the {LARGEST:,} that may ship")
    load_detector(out)
    return size


def _halved(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float32 matrices in float16; vectors and single numbers stay."""
    return {name: a.astype(np.float16) if a.dtype == np.float32 and a.ndim > 1 else a for name, a in arrays.items()}
