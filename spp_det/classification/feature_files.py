"""Whole-image vectors, what they are of, and SVMs on them, as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.classification.features import ImageFeatures
from spp_det.classification.folders import read_folders
from spp_det.classification.protocols import presence_of
from spp_det.classification.svm import MultiLabelSVM, OneVsRestSVM
from spp_det.datasets import VOC_CLASSES, VOCDataset
from spp_det.errors import DataError
from spp_det.files import read_arrays, write_arrays

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """The vectors of a data set.

    vectors: float32 [N, D]; labels: int64 [N], or of several classes an image int8 [N, K] of 1, -1 and 0; about: the
    settings of `ImageFeatures`, but for how they were computed.
    """

    vectors: Vectors
    labels: npt.NDArray[Any]
    class_names: tuple[str, ...]
    about: dict[str, Any]

    @property
    def several(self) -> bool:
        """Whether an image may show several classes."""
        return self.labels.ndim == 2


def compute_features(
    extractor: ImageFeatures,
    root: str | Path,
    split: str = "",
    year: str = "2007",
    classes: Sequence[str] | None = None,
) -> Features:
    """The vectors of a VOC devkit's split, or of a folder of class folders (root, or root/split).

    classes: their names, where a devkit's are not VOC's, or the folders are to be in another order.
    Raises DataError for data that cannot be read.
    """
    root = Path(root)
    about = {
        name: value
        for name, value in extractor.get_params().items()
        if name not in ("precision", "batch_size", "verbose") and value is not None
    }
    about = json.loads(json.dumps(about, default=str))
    if (root / f"VOC{year}").is_dir() or (root / "ImageSets").is_dir():
        dataset = VOCDataset(root, year, split or "trainval", classes or VOC_CLASSES)
        paths, labels, names = [dataset.image_path(i) for i in dataset.ids], presence_of(dataset), dataset.class_names
        return Features(extractor.fit(paths).transform(paths), labels, names, about)
    images = read_folders(root / split, classes)
    return Features(extractor.fit(images.paths).transform(images.paths), images.labels, images.class_names, about)


def write_features(path: Path, features: Features) -> None:
    """Into one safetensors file, whole or absent."""
    _write(path, {"vectors": features.vectors, "labels": features.labels}, features.class_names, features.about)


def read_features(path: Path) -> Features:
    """Undo `write_features`. Raises DataError for a file that is missing, broken or of something else."""
    arrays, names, about = _read(path, ("vectors", "labels"), "image features: tools/classify.py features writes them")
    return Features(arrays["vectors"], arrays["labels"], names, about)


def fit_svm(features: Features, C: float = 1.0) -> OneVsRestSVM | MultiLabelSVM:  # noqa: N803 - its name everywhere
    """The SVMs of the features' classes."""
    return (MultiLabelSVM(C) if features.several else OneVsRestSVM(C)).fit(features.vectors, features.labels)


def write_svm(path: Path, svm: OneVsRestSVM | MultiLabelSVM, features: Features) -> None:
    """An SVM and the features that it was learnt from, without their vectors."""
    arrays = {"coef": svm.coef_, "intercept": svm.intercept_}
    if isinstance(svm, OneVsRestSVM):
        arrays["classes"] = svm.classes_
    _write(path, arrays, features.class_names, {**features.about, "C": svm.C})


def read_svm(path: Path, features: Features) -> OneVsRestSVM | MultiLabelSVM:
    """Undo `write_svm`, for vectors of these features.

    Raises DataError where the file is missing, broken, or of other classes or other features.
    """
    arrays, names, about = _read(path, ("coef", "intercept"), "SVMs: tools/classify.py fit writes them")
    if names != features.class_names or features.several == ("classes" in arrays):
        raise DataError(path, f"is for {_some(names)}, and the features are of {_some(features.class_names)}")
    svm = OneVsRestSVM(about["C"]) if "classes" in arrays else MultiLabelSVM(about["C"])
    differ = [name for name in features.about if features.about[name] != about.get(name)]
    if differ:
        raise DataError(path, f"was learnt from other features ({', '.join(differ)} differ)")
    svm.coef_, svm.intercept_ = arrays["coef"], arrays["intercept"]
    if isinstance(svm, OneVsRestSVM):
        svm.classes_ = arrays["classes"]
    return svm


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} classes ({shown}{', ..' if len(names) > 3 else ''})"


def _write(path: Path, arrays: Mapping[str, np.ndarray], names: tuple[str, ...], about: Mapping[str, Any]) -> None:
    text = json.dumps({"class_names": names, "about": dict(about)})
    write_arrays(path, {**arrays, "about": np.frombuffer(text.encode(), np.uint8)})


def _read(
    path: Path, needed: tuple[str, ...], what: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...], dict[str, Any]]:
    arrays = read_arrays(path)
    if not {*needed, "about"} <= arrays.keys():
        raise DataError(path, f"holds no {what}")
    try:
        text = json.loads(arrays.pop("about").tobytes())
        return arrays, tuple(map(str, text["class_names"])), dict(text["about"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise DataError(path, f"holds no {what}") from None
