"""SVMs and box regressors from the .mat files of SPP-net's and R-CNN's releases, as those of this package.

A model of SVMs is a struct (`rcnn_model`, `spp_model`) with `detectors.W` and `detectors.B`, one of regressors
(`bbox_reg`) has a cell array `models` of structs with `Beta`, `mu` and `T_inv`. Both have `training_opts` with
`feat_norm_mean`, the mean norm of the features, which were scaled to 20 (spp_scale_features.m), and `layer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.errors import WeightsError
from spp_det.files import write_arrays, write_json
from spp_det.matlab import read_mat
from spp_det.training import BoxRegressor, LinearSVMs

_LAYERS = {5: "pool5", 6: "fc6", 7: "fc7"}

Struct = Mapping[str, Any]


def read_svms(path: str | PathLike[str]) -> tuple[LinearSVMs, tuple[str, ...], str]:
    """The SVMs of a model file, the names of their classes, and the layer whose features they take.

    Raises DataError where the file is no readable .mat, WeightsError where it holds no SVMs, or not whole ones.
    """
    return _svms(Path(path), read_mat(path))


def read_regressor(path: str | PathLike[str]) -> BoxRegressor:
    """The box regressors of a model file, one per class in the model's order; `layer` says whose features they take.

    A prediction is (x Beta) T_inv + mu, since targets were whitened (spp_predict_bbox_regressor.m), so the weights are
    Beta T_inv, with mu added to the row of the constant. Raises DataError where the file is no readable .mat,
    WeightsError where it holds no regressors, or not whole ones.
    """
    return _regressor(Path(path), read_mat(path))


def convert_models(path: str | PathLike[str], folder: str | PathLike[str]) -> list[Path]:
    """Write what a model file holds as a run's folder has it, and a JSON file beside with names, layer and source.

    SVMs become svms.safetensors and svms.json, regressors regressor.safetensors and regressor.json. Returns the files
    written. Raises DataError and WeightsError as `read_svms`, and WeightsError where the file holds neither.
    """
    path, folder = Path(path), Path(folder)
    variables = read_mat(path)
    written: list[Path] = []
    facts: dict[str, Any]
    if _find(variables, "detectors"):
        svms, names, layer = _svms(path, variables)
        facts = {"source": path.name, "class_names": list(names), "layer": layer}
        written += _write(folder, "svms", svms.state(), facts)
    if _find(variables, "models"):
        regressor = _regressor(path, variables)
        facts = {"source": path.name, "classes": len(regressor.weights_), "layer": regressor.layer}
        written += _write(folder, "regressor", regressor.state(), facts)
    if not written:
        raise WeightsError(f"{path}: holds neither SVMs (detectors) nor regressors (models){_what(variables)}")
    return written


def _write(folder: Path, name: str, state: Mapping[str, npt.NDArray[Any]], facts: dict[str, Any]) -> list[Path]:
    arrays, about = folder / f"{name}.safetensors", folder / f"{name}.json"
    write_arrays(arrays, state)
    write_json(about, facts)
    return [arrays, about]


def _svms(path: Path, variables: Struct) -> tuple[LinearSVMs, tuple[str, ...], str]:
    model = _model(path, variables, "detectors")
    names = _class_names(path, model)
    planes = model["detectors"]
    if not isinstance(planes, dict):
        raise WeightsError(f"{path}: detectors is no struct with W and B")
    intercept = _numbers(path, planes, "B", "detectors.").reshape(-1)
    weights = _numbers(path, planes, "W", "detectors.")
    sides = weights.shape
    if weights.ndim != 2 or len(names) != len(intercept) or sides.count(len(names)) != 1:
        found = f"W {list(sides)}, B [{len(intercept)}], {len(names)} classes"
        raise WeightsError(f"{path}: detectors do not fit each other: {found}")
    svms = LinearSVMs()
    svms.coef_ = np.ascontiguousarray(weights if sides[0] == len(names) else weights.T, np.float32)
    svms.intercept_ = intercept.astype(np.float32)
    svms.scale_ = svms.target_norm / _mean_norm(path, model)
    return svms, names, _layer(path, model)


def _regressor(path: Path, variables: Struct) -> BoxRegressor:
    model = _model(path, variables, "models")
    classes = model["models"]
    if not isinstance(classes, np.ndarray) or classes.dtype != object or not classes.size:
        raise WeightsError(f"{path}: models is no cell array of structs")
    weights = [_class_weights(path, number, each) for number, each in enumerate(classes.ravel(order="F"), 1)]
    lengths = sorted({len(each) for each in weights})
    if len(lengths) > 1:
        raise WeightsError(f"{path}: models have Beta of different lengths: {lengths}")
    regressor = BoxRegressor(layer=_layer(path, model))
    regressor.weights_ = np.stack(weights)
    regressor.scale_ = regressor.target_norm / _mean_norm(path, model)
    return regressor


def _class_weights(path: Path, number: int, model: Any) -> npt.NDArray[np.float32]:
    """One class's weights, float32 [D + 1, 4]."""
    where = f"models{{{number}}}."
    if not isinstance(model, dict):
        raise WeightsError(f"{path}: {where[:-1]} is no struct with Beta, mu and T_inv")
    beta, unwhiten = _numbers(path, model, "Beta", where), _numbers(path, model, "T_inv", where)
    mean = _numbers(path, model, "mu", where).reshape(-1)
    if beta.ndim != 2 or beta.shape[1] != 4 or len(beta) < 2 or unwhiten.shape != (4, 4) or len(mean) != 4:
        shapes = f"Beta {list(beta.shape)}, T_inv {list(unwhiten.shape)}, mu [{len(mean)}]"
        raise WeightsError(f"{path}: {where[:-1]} has {shapes}, expected [D + 1, 4], [4, 4] and [4]")
    weights = beta @ unwhiten
    weights[-1] += mean
    if np.abs(weights).max() > np.finfo(np.float32).max:
        raise WeightsError(f"{path}: {where[:-1]} gives weights that are too large")
    return weights.astype(np.float32)


def _find(variables: Struct, field: str) -> Struct | None:
    """The first struct of the file that has the field."""
    return next((value for value in variables.values() if isinstance(value, dict) and field in value), None)


def _model(path: Path, variables: Struct, field: str) -> Struct:
    model = _find(variables, field)
    if model is None:
        raise WeightsError(f"{path}: holds no struct with {field}{_what(variables)}")
    return model


def _what(variables: Struct) -> str:
    if {"boxes", "images"} <= variables.keys():
        return '; it is a list of boxes, which a configuration names as proposals: method = "file", file = ...'
    return f"; it has {', '.join(variables)}" if variables else "; it is empty"


def _class_names(path: Path, model: Struct) -> tuple[str, ...]:
    classes = model.get("classes")
    names = tuple(classes.ravel(order="F")) if isinstance(classes, np.ndarray) and classes.dtype == object else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise WeightsError(f"{path}: classes is no cell array of names")
    return names


def _options(model: Struct) -> Struct:
    options = model.get("training_opts")
    return options if isinstance(options, dict) else {}


def _mean_norm(path: Path, model: Struct) -> float:
    norm = _numbers(path, _options(model), "feat_norm_mean", "training_opts.")
    if norm.size != 1 or norm.item() <= 0:
        raise WeightsError(f"{path}: training_opts.feat_norm_mean is not one positive number")
    return float(norm.item())


def _layer(path: Path, model: Struct) -> str:
    number = _numbers(path, _options(model), "layer", "training_opts.")
    if number.size != 1 or number.item() not in _LAYERS:
        raise WeightsError(f"{path}: training_opts.layer is none of {', '.join(map(str, _LAYERS))}")
    return _LAYERS[int(number.item())]


def _numbers(path: Path, struct: Struct, field: str, where: str) -> npt.NDArray[np.float64]:
    """A field of finite numbers, float64. Raises WeightsError naming the field."""
    array = struct.get(field)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not array.size:
        raise WeightsError(f"{path}: {where}{field} is absent, or holds no numbers")
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32)).all()
    if not finite:
        raise WeightsError(f"{path}: {where}{field} holds a number that is not finite, or too large")
    return array.astype(np.float64)
