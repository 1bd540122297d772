"""An exported detector finds what the one of torch finds, and says plainly what is wrong with a folder."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image as PillowImage
from reference.exported import KINDS, make, picture
from reference.without_torch import run_without_torch

from spp_det import Detector
from spp_det.config import Config, DataConfig, FinetuneConfig, MapsConfig, ProposalsConfig, TrunkConfig
from spp_det.detection.bundle import save_detector
from spp_det.errors import ConfigError, DataError, SppDetError
from spp_det.export.trunk import trunk_model
from spp_det.files import read_arrays, read_json, write_arrays, write_json
from spp_det.networks import build_trunk
from spp_det.pooling import pool_windows
from spp_det.regions import SPPRegions
from spp_det.structures import Detections

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.scores, expected.scores, **CLOSE)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-4, atol=1e-2)
    assert found.class_names == expected.class_names
    assert (found.probabilities is None) == (expected.probabilities is None)
    if found.probabilities is not None:
        np.testing.assert_allclose(found.probabilities, expected.probabilities, **CLOSE)


def outputs(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Detector, Path]:
    """A detector of each kind, and where it was exported."""
    detector, folder = make(request.param), tmp_path_factory.mktemp("pair")
    detector.export(folder)
    return detector, folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "compressed"
    make("compressed").export(folder)
    return folder


def test_finds_the_same(pair: tuple[Detector, Path]) -> None:
    detector, folder = pair
    again = Detector.load_onnx(folder)
    for image in (picture(), picture(200, 97, seed=1)):
        assert_same(again.detect(image), detector.detect(image))
    assert len(again.detect(picture(5, 5))) == len(detector.detect(picture(5, 5)))


def test_the_graphs_alone(pair: tuple[Detector, Path]) -> None:
    """What another program gets of them, without anything of this package but the cells of its windows."""
    detector, folder = pair
    regions: Any = detector.regions
    x = regions.trunk.tensor(picture())[None]
    feature_map = outputs(folder / "trunk.onnx", image=x.numpy())["map"]
    with torch.inference_mode():
        np.testing.assert_allclose(feature_map, regions.trunk(x).numpy(), **CLOSE)
    rng = np.random.default_rng(0)
    height, width = feature_map.shape[2:]
    left, top = rng.integers(0, width, 60), rng.integers(0, height, 60)
    windows = np.stack([left, top, rng.integers(left, width), rng.integers(top, height)], axis=1)
    found = outputs(folder / "windows.onnx", map=feature_map[0], windows=windows)
    rows = np.arange(60)
    if detector.first_look is not None:
        first = detector.first_look.scores(pool_windows(feature_map[0][::2], windows, detector.first_look.levels))
        rows = np.sort(np.argsort(-first, kind="stable")[:24])
    np.testing.assert_array_equal(found["rows"], rows)
    vectors = pool_windows(feature_map[0], windows[rows], regions.levels)
    read, located = regions.head.numpy_layers(vectors, (detector.layer, detector.regression_layer))
    np.testing.assert_allclose(found["scores"], detector.svms.decision_function(read), **CLOSE)
    alone = outputs(folder / "head.onnx", vectors=vectors)
    np.testing.assert_allclose(alone["scores"], found["scores"], **CLOSE)
    assert ("offsets" in found) == (detector.regressor is not None)
    if detector.regressor is not None:
        for label in range(3):
            offsets = detector.regressor.predict(located, np.full(len(rows), label))
            np.testing.assert_allclose(found["offsets"][:, label], offsets, **CLOSE)


def test_the_default_trunk_on_an_image_of_a_real_size(tmp_path: Path) -> None:
    """EfficientNet-Lite0 at 600 pixels of 375 x 500, and a head of its real input, 16,000."""
    detector = make("five scales, the release's rules", build_trunk("efficientnet_lite0"), hidden=(256, 128))
    assert isinstance(detector.regions, SPPRegions)
    detector.regions.scales = (600,)
    detector.export(tmp_path)
    image = picture(375, 500)
    again = Detector.load_onnx(tmp_path)
    theirs, ours = (each.regions.image_features(image).maps[0] for each in (again, detector))
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max())
    assert_same(again.detect(image), detector.detect(image))


@pytest.mark.parametrize("name", ["zf5_table1", "caffe_alexnet"])
def test_other_trunks(name: str, tmp_path: Path) -> None:
    """Response normalisation, grouped convolutions, Caffe's rounding of pools."""
    trunk = build_trunk(name, "random")
    path = tmp_path / "trunk.onnx"
    path.write_bytes(trunk_model(trunk).SerializeToString())
    x = trunk.tensor(picture(81, 115))[None]
    with torch.inference_mode():
        expected = trunk(x).numpy()
    found = outputs(path, image=x.numpy())["map"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


WITHOUT = """
from spp_det import Detector
found = Detector.load_onnx(sys.argv[1]).detect(sys.argv[2])
import json
print(json.dumps([found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()]))
"""
COMMAND = """
from spp_det import cli
sys.exit(cli.run(sys.argv[1:]))
"""


def test_detects_without_torch(exported: Path, tmp_path: Path) -> None:
    PillowImage.fromarray(picture()).save(tmp_path / "photo.png")
    done = run_without_torch(WITHOUT, str(exported), str(tmp_path / "photo.png"))
    assert done.returncode == 0, done.stderr
    here = Detector.load_onnx(exported).detect(tmp_path / "photo.png")
    boxes, scores, labels = json.loads(done.stdout)
    np.testing.assert_allclose(scores, here.scores, **CLOSE)
    np.testing.assert_allclose(boxes, here.boxes, rtol=1e-4, atol=1e-2)
    assert labels == here.labels.tolist()
    forms = [part for form in ("drawn", "json", "coco", "csv", "yolo") for part in ("--save", form)]
    pictures = [str(tmp_path / "photo.png")]
    words = ["detect", *pictures, "--onnx", str(exported), "--json", "--min-score", "-9", "--out", str(tmp_path / "o")]
    done = run_without_torch(COMMAND, *words, *forms)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    np.testing.assert_allclose([one["score"] for one in line["detections"]], here.scores, atol=2e-4)
    assert {path.name for path in (tmp_path / "o").iterdir()} >= {"photo.jpg", "detections.json", "coco.json"}


def test_a_detector_in_bfloat16_is_exported_in_float32(tmp_path: Path) -> None:
    plain = make("dense", build_trunk("alexnet", "random"))
    config = Config(
        data=DataConfig(root="none"),
        trunk=TrunkConfig("alexnet", "random"),
        maps=MapsConfig((160,), levels=(1, 2, 3)),
        finetune=FinetuneConfig(hidden=(32, 24)),
        proposals=ProposalsConfig(min_side=8, max_windows=150),
    )
    parts: Any = plain.regions.trunk, plain.regions.head, plain.svms, plain.regressor
    save_detector(tmp_path / "run", config, plain.class_names, *parts)
    Detector.load(tmp_path / "run", precision="bfloat16").export(tmp_path / "out")
    expected = Detector.load(tmp_path / "run", precision="float32").detect(picture())
    assert_same(Detector.load_onnx(tmp_path / "out").detect(picture()), expected)


def test_what_cannot_be_exported(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homeless, odd = make("dense"), make("dense")
    homeless.config = None
    with pytest.raises(ConfigError, match="did not come from a folder"):
        homeless.export(tmp_path)
    odd.svms = object()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="linear SVMs"):
        odd.export(tmp_path)
    again = Detector.load_onnx(exported)
    for change in (again.export, again.save):
        with pytest.raises(ConfigError):
            change(tmp_path)
    with pytest.raises(ConfigError):
        again.add_class("mug", [picture()], [[[0, 0, 50, 50]]])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SppDetError, match=r'exporting needs onnx: pip install "spp_det\[export\]"'):
        make("dense").export(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_whole(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        Detector.load_onnx(tmp_path / "none")
    with pytest.raises(DataError, match="holds no exported detector"):
        Detector.load_onnx(tmp_path)
    for name in ("trunk.onnx", "head.onnx", "layers.bin", "first_look.safetensors"):
        folder = Path(shutil.copytree(exported, tmp_path / name))
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        with pytest.raises(DataError, match=f"{name}: has .* bytes, not the"):
            Detector.load_onnx(folder)
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name}: is missing"):
            Detector.load_onnx(folder)
    folder = Path(shutil.copytree(exported, tmp_path / "old"))  # as before the first look had a hidden layer
    look = read_arrays(folder / "first_look.safetensors")
    del look["hidden_coef"]
    write_arrays(folder / "first_look.safetensors", look)
    manifest = read_json(folder / "export.json")
    manifest["files"]["first_look.safetensors"] = (folder / "first_look.safetensors").stat().st_size
    write_json(folder / "export.json", manifest)
    with pytest.raises(DataError, match=r"first_look.safetensors: lacks the array 'hidden_coef': export"):
        Detector.load_onnx(folder)
    folder = Path(shutil.copytree(exported, tmp_path / "graph"))
    (folder / "head.onnx").write_bytes(bytes((folder / "head.onnx").stat().st_size))
    with pytest.raises(DataError, match=r"head\.onnx: onnxruntime cannot run it"):
        Detector.load_onnx(folder)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("format", 9, "is no manifest of the format 1"),
        ("detect", 3, "export.json"),
        ("class_names", None, "class_names"),
    ],
)
def test_a_manifest_with_a_wrong_value(exported: Path, tmp_path: Path, key: str, value: object, fault: str) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    write_json(folder / "export.json", {**read_json(folder / "export.json"), key: value})
    with pytest.raises(SppDetError, match=fault):
        Detector.load_onnx(folder)


def test_code_that_a_folder_names_is_not_run(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPP_DET_TRUST")
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    manifest = read_json(folder / "export.json")
    manifest["proposals"]["method"] = "reference.tiny_trunk:tiny_trunk"
    write_json(folder / "export.json", manifest)
    with pytest.raises(ConfigError, match="names code"):
        Detector.load_onnx(folder)
    assert Detector.load_onnx(folder, trust=["reference"]).class_names == ("cat", "dog", "cow")


def test_without_onnxruntime(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SppDetError, match="onnxruntime is not installed"):
        Detector.load_onnx(exported)
