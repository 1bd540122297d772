"""Train a detector object on images in memory or of another library: what `Detector.fit` does."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from spp_det.config import Config, config_from, config_to_dict
from spp_det.datasets import Dataset
from spp_det.datasets.memory import as_dataset
from spp_det.detection import Detector
from spp_det.detection.bundle import load_detector
from spp_det.errors import ConfigError
from spp_det.pipeline.choosing import choose, count_objects
from spp_det.pipeline.training import train

SOURCE = "the settings of fit"  # what a wrong one is told to stand in


def fit_detector(
    detector: Detector,
    source: Any,
    classes: Sequence[str] | None,
    folder: str | PathLike[str] | None,
    settings: Sequence[str],
    verbose: bool,
) -> None:
    """Train as `spp-det train` does, and give the detector all parts of the one that came of it.

    Raises ValueError where no image shows an object, and what `as_dataset` and the stages raise.
    """
    dataset = as_dataset(source, classes)
    config = _config(detector.config, dataset, settings)
    with contextlib.ExitStack() as stack:
        run = Path(folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="spp_det-")))
        if not verbose:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        train(config, run, store=run / "store", dataset=dataset)
        precision = "float32" if folder is None else "auto"  # what is not written yet must not lose a bit
        fitted = load_detector(run, _own_words(config), precision)
    if folder is None:
        fitted.folder = None  # what was kept there, such as negatives of classes to come, is gone
    vars(detector).clear()
    vars(detector).update(vars(fitted))


def _own_words(config: Config) -> list[str]:
    """The parts that it names, as settings: who fits may name code of his own, which a folder may not."""
    parts = {"trunk.name": config.trunk.name, "proposals.method": config.proposals.method}
    return [f"{key}={name}" for key, name in {**parts, "regions.kind": config.regions.kind}.items()]


def _config(known: Config | None, dataset: Dataset, settings: Sequence[str]) -> Config:
    """The detector's own configuration, or one chosen by the images, for this data set."""
    if known is None:
        try:
            table = choose(count_objects(dataset), settings).settings
        except ValueError as fault:
            raise ConfigError(f"{fault} in the {len(dataset)} images") from None
    else:
        table = config_to_dict(known)
    data = {"root": "", "classes": list(dataset.class_names)}
    return config_from({**table, "data": data}, SOURCE, settings)
