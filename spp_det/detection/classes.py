"""One more class for a trained detector, one less, or one renamed. The convolutions, the fully connected layers and the
other classes' SVMs and regressors stay as they are, bit by bit: that is the method's gift.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike

import numpy as np
import numpy.typing as npt

from spp_det.detection.detector import Detector
from spp_det.detection.examples import ExampleWindows
from spp_det.detection.memory import ClassMemory
from spp_det.errors import ConfigError
from spp_det.parts import make_svm_settings
from spp_det.regions import SPPRegions
from spp_det.structures import Image
from spp_det.training import BoxRegressor, LinearSVMs, SvmMemory, SvmSettings, train_class
from spp_det.training.mining import MiningLog
from spp_det.training.source import Vectors
from spp_det.training.svm import Hyperplane

PASSES = 2  # over the images: their vectors stay in memory, so a second look for hard negatives costs little
Progress = Callable[[str, int, int], None]  # (what is done, steps done, of all)


def silent(what: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


def add_class(
    detector: Detector,
    name: str,
    images: Sequence[str | PathLike[str] | Image],
    boxes: Sequence[npt.ArrayLike],
    settings: SvmSettings | None = None,
    background: Vectors | None = None,
    progress: Progress = silent,
) -> MiningLog:
    """What `Detector.add_class` does; returns the log of the mining.

    settings: how the SVM is trained, by default as the detector's configuration says, or with the C, the bias and the
    weights of its others. It learns on plain vectors even where those learnt on standardised ones, which gave
    nothing of 20 images: see docs/own-data.md.
    background: the first negatives of a new class, unscaled vectors float32 [N, D] of windows at the SVMs' layer; by
    default those that the detector keeps of the images it was trained on.
    """
    svms = detector.svms
    if not isinstance(svms, LinearSVMs) or not isinstance(detector.regressor, BoxRegressor | None):
        raise ConfigError("a class can only be added to a detector of linear SVMs and linear box regressors")
    check_name(name)
    memory = detector.memory(name)
    if name in detector.class_names and memory is None:
        raise ConfigError(f"the detector has a class {name!r}, whose examples are not kept: remove it, or rename one")
    source = ExampleWindows(detector, images, boxes, lambda done, of: progress("windows", done, of))
    known = memory.svm if memory else _beginning(detector.background() if background is None else background, svms)
    settings = replace(settings or _settings_of(detector, svms), passes=PASSES)
    plane, svm_memory, log = train_class(
        source, detector.layer, settings, svms.scale_, known, lambda done, of: progress("mining", done, of)
    )
    regression = None
    if detector.regressor is not None:
        regression = detector.regressor.remember(source, 0)
        if memory is not None and memory.regression is not None:
            regression = memory.regression + regression
    learnt = ClassMemory(svm_memory, regression)
    _put(detector, name, plane, learnt, _first_look_row(detector, source, plane, svms.scale_))
    return log


def remove_class(detector: Detector, name: str) -> None:
    """What `Detector.remove_class` does."""
    label = label_of(detector, name)
    if len(detector.class_names) == 1:
        raise ConfigError(f"{name!r} is the only class of the detector")
    stay = np.arange(len(detector.class_names)) != label
    _select(detector, stay)
    detector.class_names = tuple(other for other in detector.class_names if other != name)
    detector.memories[name] = None


def rename_class(detector: Detector, old: str, new: str) -> None:
    """What `Detector.rename_class` does."""
    label = label_of(detector, old)
    check_name(new)
    if new in detector.class_names:
        raise ConfigError(f"the detector has a class {new!r} already")
    names = list(detector.class_names)
    names[label] = new
    memory = detector.memory(old)
    detector.class_names = tuple(names)
    detector.memories |= {old: None, new: memory}


def label_of(detector: Detector, name: str) -> int:
    """The label of a class. Raises ConfigError for one that the detector lacks."""
    if name not in detector.class_names:
        raise ConfigError(f"the detector has no class {name!r}; it has {', '.join(detector.class_names)}")
    return detector.class_names.index(name)


def check_name(name: str) -> None:
    """Raises ConfigError for a name that no class can have."""
    if not name or name != name.strip() or not name.isprintable():
        raise ConfigError(f"the name of a class is text without line breaks or spaces around it, not {name!r}")


def _beginning(background: Vectors | None, svms: LinearSVMs) -> SvmMemory | None:
    return None if background is None else SvmMemory.of_negatives(background * np.float32(svms.scale_))


def _settings_of(detector: Detector, svms: LinearSVMs) -> SvmSettings:
    if detector.config is not None:
        return make_svm_settings(detector.config)
    return SvmSettings(svms.C, svms.positive_weight, svms.bias, svms.target_norm, seed=svms.seed)


def _put(
    detector: Detector, name: str, plane: Hyperplane, memory: ClassMemory, first_look: tuple[np.ndarray, float] | None
) -> None:
    """Place what was learnt into the detector: in the row of the class, or in a new last one."""
    label = detector.class_names.index(name) if name in detector.class_names else len(detector.class_names)
    svms, regressor, look = detector.svms, detector.regressor, detector.first_look
    assert isinstance(svms, LinearSVMs)
    assert regressor is None or isinstance(regressor, BoxRegressor)
    changed = copy.copy(svms)
    changed.coef_ = _with_row(svms.coef_, label, plane.weights)
    changed.intercept_ = _with_row(svms.intercept_, label, plane.intercept)
    if regressor is not None and memory.regression is not None:
        weights = regressor.fit_memory(memory.regression)
        detector.regressor = moved = copy.copy(regressor)
        moved.weights_ = _with_row(regressor.weights_, label, weights)
    if look is not None and first_look is not None:
        detector.first_look = wider = copy.copy(look)
        wider.coef_ = _with_row(look.coef_, label, first_look[0])
        wider.intercept_ = _with_row(look.intercept_, label, first_look[1])
    if detector.calibration is not None:
        detector.calibration = detector.calibration.with_class(label)
    detector.svms = changed
    detector.memories[name] = memory
    detector.class_names = (*detector.class_names[:label], name, *detector.class_names[label + 1 :])


def _with_row(array: np.ndarray, label: int, row: npt.ArrayLike) -> np.ndarray:
    """A copy with one row replaced, or one more."""
    return np.concatenate([array[:label], np.asarray(row, array.dtype)[None], array[label + 1 :]])


def _select(detector: Detector, stay: npt.NDArray[np.bool_]) -> None:
    svms, regressor, look = detector.svms, detector.regressor, detector.first_look
    if not isinstance(svms, LinearSVMs) or not isinstance(regressor, BoxRegressor | None):
        raise ConfigError("a class can only be removed from a detector of linear SVMs and linear box regressors")
    detector.svms = changed = copy.copy(svms)
    changed.coef_, changed.intercept_ = svms.coef_[stay], svms.intercept_[stay]
    if regressor is not None:
        detector.regressor = fewer = copy.copy(regressor)
        fewer.weights_ = regressor.weights_[stay]
    if detector.calibration is not None:
        detector.calibration = detector.calibration.select(stay)
    if look is not None:
        detector.first_look = narrower = copy.copy(look)
        narrower.coef_, narrower.intercept_ = look.coef_[stay], look.intercept_[stay]


def _first_look_row(
    detector: Detector, source: ExampleWindows, plane: Hyperplane, scale: float
) -> tuple[np.ndarray, float] | None:
    """What the first look of a compressed detector learns of the class: (coefficients, intercept)."""
    look = detector.first_look
    if look is None or not isinstance(detector.regions, SPPRegions):
        return None
    scores = plane.scores(source.vectors() * np.float32(scale))
    return look.fit_class(source.coarse(detector.regions, look), scores)
