"""Models of the releases: their predictions and ours agree, and each thing that may be wrong with them is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from spp_det.errors import DataError, SppDetError, WeightsError
from spp_det.files import read_arrays, read_json
from spp_det.original import convert_models, read_regressor, read_svms
from spp_det.training import BoxRegressor, LinearSVMs

NAMES = ("aeroplane", "bicycle", "bird")
DIM = 7
NORM = 26.5


def cells(*values: Any) -> np.ndarray:
    array = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        array[i, 0] = value
    return array


def numbers(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def svm_model() -> dict[str, Any]:
    return {
        "cache_name": "v1",
        "classes": cells(*NAMES),
        "detectors": {"W": numbers(3, DIM, seed=0).astype(np.float32), "B": numbers(3, 1, seed=1).astype(np.float32)},
        "training_opts": {"layer": 7.0, "feat_norm_mean": NORM, "svm_C": 0.001},
    }


def bbox_model() -> dict[str, Any]:
    models = [
        {
            "mu": numbers(1, 4, seed=4 * k),
            "T": numbers(4, 4, seed=4 * k + 1),
            "T_inv": numbers(4, 4, seed=4 * k + 2),
            "Beta": numbers(DIM + 1, 4, seed=4 * k + 3),
        }
        for k in range(3)
    ]
    return {"models": cells(*models), "training_opts": {"layer": 5.0, "feat_norm_mean": NORM}}


def save(folder: Path, **variables: Any) -> Path:
    path = folder / "model.mat"
    scipy.io.savemat(path, variables, do_compression=True)
    return path


def fault_of(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("rows_are_classes", [True, False])
def test_scores_are_the_releases(tmp_path: Path, rows_are_classes: bool) -> None:
    """SPP-net has W [K, D] and columns of features, R-CNN W [D, K] and rows; both scale features by 20 / norm."""
    model = svm_model()
    features = numbers(11, DIM, seed=2).astype(np.float32)
    expected = (features * 20 / NORM) @ model["detectors"]["W"].T + model["detectors"]["B"].ravel()
    if not rows_are_classes:
        model["detectors"] = {name: array.T for name, array in model["detectors"].items()}
    svms, names, layer = read_svms(save(tmp_path, rcnn_model=model))
    np.testing.assert_allclose(svms.decision_function(features), expected, rtol=1e-4, atol=1e-5)
    assert (names, layer) == (NAMES, "fc7")
    assert svms.coef_.shape == (3, DIM)
    assert svms.coef_.dtype == svms.intercept_.dtype == np.float32


def test_offsets_are_the_releases(tmp_path: Path) -> None:
    """Y = [x 1] Beta, then Y T_inv + mu, of features scaled by 20 / norm (spp_predict_bbox_regressor.m)."""
    model = bbox_model()
    features = numbers(9, DIM, seed=50).astype(np.float32)
    labels = np.arange(9) % 3
    regressor = read_regressor(save(tmp_path, bbox_reg=model))
    assert regressor.layer == "pool5"
    found = regressor.predict(features, labels)
    for vector, label, offsets in zip(features, labels, found, strict=True):
        each = model["models"][label, 0]
        whitened = np.append(vector.astype(np.float64) * 20 / NORM, 1) @ each["Beta"]
        np.testing.assert_allclose(offsets, (whitened @ each["T_inv"] + each["mu"])[0], rtol=1e-4, atol=1e-4)


def test_conversion_gives_the_files_of_a_run(tmp_path: Path) -> None:
    path = save(tmp_path, spp_model=svm_model())
    written = convert_models(path, tmp_path / "out")
    assert [each.name for each in written] == ["svms.safetensors", "svms.json"]
    svms = LinearSVMs.from_state(read_arrays(written[0]))
    features = numbers(4, DIM, seed=3).astype(np.float32)
    np.testing.assert_array_equal(svms.decision_function(features), read_svms(path)[0].decision_function(features))
    assert read_json(written[1]) == {"source": "model.mat", "class_names": list(NAMES), "layer": "fc7"}
    path = save(tmp_path, bbox_reg=bbox_model())
    written = convert_models(path, tmp_path / "out")
    regressor = BoxRegressor.from_state(read_arrays(written[0]))
    np.testing.assert_array_equal(regressor.weights_, read_regressor(path).weights_)
    assert read_json(written[1]) == {"source": "model.mat", "classes": 3, "layer": "pool5"}
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_other_mat_files(tmp_path: Path) -> None:
    def convert(path: Path) -> object:
        return convert_models(path, tmp_path / "out")

    assert "holds neither SVMs (detectors) nor regressors (models); it has a" in fault_of(
        convert, save(tmp_path, a=1.0)
    )
    boxes = save(tmp_path, boxes=cells(np.ones((1, 4))), images=cells("000001"))
    assert 'it is a list of boxes, which a configuration names as proposals: method = "file"' in fault_of(
        convert, boxes
    )
    assert "holds no struct with detectors" in fault_of(read_svms, save(tmp_path, bbox_reg=bbox_model()))
    assert "holds no struct with models" in fault_of(read_regressor, save(tmp_path, spp_model=svm_model()))
    with pytest.raises(DataError, match="no such"):
        convert(tmp_path / "none.mat")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("classes", cells("a", "b"), "detectors do not fit each other: W [3, 7], B [3], 2 classes"),
        ("classes", cells(1.0), "classes is no cell array of names"),
        ("classes", 3.0, "classes is no cell array of names"),
        ("detectors", 3.0, "detectors is no struct with W and B"),
        ("detectors", {"W": np.ones((3, 3)), "B": np.ones(3)}, "do not fit each other: W [3, 3]"),
        ("detectors", {"W": np.ones((3, 5))}, "detectors.B is absent, or holds no numbers"),
        ("detectors", {"W": "no", "B": np.ones(3)}, "detectors.W is absent, or holds no numbers"),
        ("detectors", {"W": np.full((3, 5), np.nan), "B": np.ones(3)}, "detectors.W holds a number that is not finite"),
        ("detectors", {"W": np.full((3, 5), 1e300), "B": np.ones(3)}, "detectors.W holds a number that is not finite"),
        ("training_opts", {"layer": 7.0}, "training_opts.feat_norm_mean is absent"),
        ("training_opts", {"layer": 7.0, "feat_norm_mean": 0.0}, "feat_norm_mean is not one positive number"),
        ("training_opts", {"layer": 4.0, "feat_norm_mean": 1.0}, "training_opts.layer is none of 5, 6, 7"),
        ("training_opts", 1.0, "training_opts.feat_norm_mean is absent"),
    ],
)
def test_wrong_svms(tmp_path: Path, field: str, value: object, fault: str) -> None:
    assert fault in fault_of(read_svms, save(tmp_path, rcnn_model=svm_model() | {field: value}))


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("Beta", np.ones((DIM + 1, 3)), "models{2} has Beta [8, 3], T_inv [4, 4], mu [4], expected"),
        ("Beta", np.ones((DIM, 4)), "models have Beta of different lengths: [7, 8]"),
        ("T_inv", np.ones((4, 1)), "T_inv [4, 1]"),
        ("mu", np.ones((1, 3)), "mu [3]"),
        ("mu", np.full((1, 4), np.inf), "models{2}.mu holds a number that is not finite"),
        ("T_inv", np.full((4, 4), 3e38), "models{2} gives weights that are too large"),
    ],
)
def test_wrong_regressors(tmp_path: Path, field: str, value: np.ndarray, fault: str) -> None:
    model = bbox_model()
    model["models"][1, 0]["Beta"][0] = 30
    model["models"][1, 0] |= {field: value}
    assert fault in fault_of(read_regressor, save(tmp_path, bbox_reg=model))


def test_regressors_that_are_none(tmp_path: Path) -> None:
    assert "models is no cell array" in fault_of(read_regressor, save(tmp_path, bbox_reg={"models": 1.0}))
    assert "models{1} is no struct" in fault_of(read_regressor, save(tmp_path, bbox_reg={"models": cells(1.0)}))


def test_flipped_bits_give_documented_errors(tmp_path: Path) -> None:
    path = tmp_path / "model.mat"
    scipy.io.savemat(path, {"spp_model": svm_model(), "bbox_reg": bbox_model()})
    content = path.read_bytes()
    rng = random.Random(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            convert_models(path, tmp_path / "out")
        except SppDetError as fault:
            refused += "\n" not in str(fault)
    assert refused > 20
