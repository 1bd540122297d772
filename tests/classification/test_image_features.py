"""Whole-image vectors: every layer and view against its plain definition; in scikit-learn's pipelines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from reference.classes import make_folders
from safetensors.numpy import save_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from spp_det.classification import ImageFeatures, OneVsRestSVM, PerClassSplits, read_folders
from spp_det.errors import ConfigError, DataError
from spp_det.images import resize
from spp_det.networks import build_trunk
from spp_det.structures import Image


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL: dict[str, Any] = {
    "trunk": "reference.classes:small_trunk",
    "weights": "random",
    "side": 32,
    "precision": "float32",
}


def picture(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def unit(vector: torch.Tensor) -> np.ndarray:
    return (vector / vector.norm()).numpy()


def test_views_and_pyramids() -> None:
    image = picture(32, 45)
    trunk = build_trunk(SMALL["trunk"], "random")
    shown = {"full": image, "crop": image[:, 6:38], "warp": resize(image, (32, 32))}
    for view, seen in shown.items():
        with torch.inference_mode():
            maps = trunk(trunk.tensor(np.ascontiguousarray(seen))[None])
        pools = [torch.nn.functional.adaptive_max_pool2d(maps, n).flatten() for n in (1, 3)]
        found = ImageFeatures(**SMALL, levels=(1, 3), view=view).fit([]).transform([image])  # type: ignore[arg-type]
        np.testing.assert_allclose(found, unit(torch.cat(pools))[None], atol=1e-6)


def test_an_image_is_brought_to_its_short_side(tmp_path: Path) -> None:
    image = picture(64, 90)
    PillowImage.fromarray(image).save(tmp_path / "image.png")
    features = ImageFeatures(**SMALL)
    of_array, of_path = features.transform([image]), features.transform([tmp_path / "image.png"])
    np.testing.assert_array_equal(of_array, of_path)
    np.testing.assert_allclose(of_array, features.transform([resize(image, (32, 45))]), atol=1e-6)
    assert features.transform(np.array([str(tmp_path / "image.png")])).shape == of_path.shape


def test_layers_of_a_plain_network() -> None:
    image = picture(32, 32)
    trunk = build_trunk(SMALL["trunk"], "random")
    body, x = trunk.body, trunk.tensor(image)[None]
    assert isinstance(body, torch.nn.Sequential)
    with torch.inference_mode():
        expected = {"conv1": body[:2](x), "conv2": body[:5](x), "conv3": body(x), "map": trunk(x)}
    for layer, values in expected.items():
        found = ImageFeatures(**SMALL, layer=layer, view="crop", normalise=False).transform([image])
        np.testing.assert_allclose(found, values.flatten(1).numpy(), atol=1e-5)


def test_vectors_do_not_depend_on_their_neighbours() -> None:
    images = [picture(32, 45), picture(32, 45)[:, ::-1], picture(40, 40), picture(32, 45)]
    together = ImageFeatures(**SMALL, batch_size=2).transform(images)
    for image, row in zip(images, together, strict=True):
        np.testing.assert_allclose(ImageFeatures(**SMALL).transform([image])[0], row, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("layer", ["conv2", "pooled"])
def test_bfloat16_is_nearly_float32(layer: str) -> None:
    image = picture(32, 45)
    vectors = {
        precision: ImageFeatures(**{**SMALL, "precision": precision}, layer=layer, view="crop").transform([image])
        for precision in ("float32", "bfloat16")
    }
    assert vectors["bfloat16"].dtype == np.float32
    assert 1e-5 < np.abs(vectors["float32"] - vectors["bfloat16"]).max() < 0.02
    assert (vectors["float32"] * vectors["bfloat16"]).sum() > 0.9999


def test_fully_connected_layers_of_a_weight_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv1": (96, 3, 7, 7), "conv2": (256, 96, 5, 5), "conv3": (384, 256, 3, 3)}
    shapes |= {"conv4": (384, 384, 3, 3), "conv5": (256, 384, 3, 3), "fc6": (8, 12800), "fc7": (5, 8)}
    tensors = {f"{name}.weight": rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    path = tmp_path / "zf5.safetensors"
    save_file(tensors, path)
    common: dict[str, Any] = {**SMALL, "trunk": "zf5", "weights": str(path), "side": 64, "normalise": False}
    image = picture(64, 80)
    pooled, fc6, fc7 = (ImageFeatures(**common, layer=layer).transform([image]) for layer in ("pooled", "fc6", "fc7"))
    np.testing.assert_allclose(fc6, np.maximum(pooled @ tensors["fc6.weight"].T, 0), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(fc7, np.maximum(fc6 @ tensors["fc7.weight"].T, 0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"layer": "conv9", "view": "crop"}, "has conv1 to conv3"),
        ({"layer": "conv1"}, "view = crop or warp"),
        ({"layer": "fc7"}, "no fully connected layers"),
        ({"layer": "pool5"}, "a layer is conv1"),
        ({"view": "whole"}, "view is full, crop or warp"),
        ({"side": 4}, "too small"),
        ({"trunk": "efficientnet_lite0", "layer": "conv2", "view": "crop"}, "not a plain row of layers"),
        ({"trunk": "zf4"}, "unknown trunk"),
        ({"precision": "int8"}, "precision is one of"),
    ],
)
def test_what_is_not_there_is_one_line(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        ImageFeatures(**{**SMALL, **settings}).fit([])


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"none")
    with pytest.raises(DataError, match=r"a.jpg: is not an image"):
        ImageFeatures(**SMALL).transform([tmp_path / "a.jpg"])


def test_in_a_pipeline_a_grid_search_and_a_protocol(tmp_path: Path) -> None:
    images = read_folders(make_folders(tmp_path / "train", 12))
    paths = np.array([str(path) for path in images.paths])
    pipeline = make_pipeline(ImageFeatures(**SMALL, levels=(1,)), OneVsRestSVM())
    search = GridSearchCV(pipeline, {"imagefeatures__levels": [(1,), (1, 2)], "onevsrestsvm__C": [0.1, 10.0]}, cv=2)
    search.fit(paths, images.labels)
    assert search.best_score_ > 0.8
    scores = cross_val_score(search.best_estimator_, paths, images.labels, cv=PerClassSplits(8, 4, 3))
    assert len(scores) == 3
    assert scores.min() > 0.7
    copy = clone(ImageFeatures(**SMALL, layer="map", view="crop"))
    assert copy.get_params()["layer"] == "map"
