"""`Detector.fit`: settings chosen by the images, a detector that came of it, and the same bytes as a trained run's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision

from spp_det import Detector
from spp_det.config import config_from
from spp_det.datasets import ShapesDataset
from spp_det.datasets.memory import PairsDataset
from spp_det.errors import ConfigError
from spp_det.files import read_json
from spp_det.pipeline.fitting import SOURCE

TINY = [
    "trunk.name=reference.tiny_trunk:tiny_trunk",
    "trunk.weights=random",
    "precision=float32",
    "proposals.max_windows=60",
    "maps.scales=[160]",
    "maps.levels=[1, 2]",
    "finetune.iterations=8",
    "finetune.hidden=[12, 8]",
    "finetune.batch_size=16",
    "finetune.flip=false",
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> ShapesDataset:
    return ShapesDataset(tmp_path_factory.mktemp("fitting") / "VOCdevkit", "trainval", train=6, test=2)


def test_fit_returns_itself_and_detects(shapes: ShapesDataset, tmp_path: Path) -> None:
    pairs = [(shapes.image(image_id), shapes.target(image_id)) for image_id in shapes.ids]
    detector = Detector.new()
    with pytest.raises(ConfigError, match=r"call its fit\(dataset\)"):
        detector.detect(pairs[0][0])
    assert detector.fit(pairs, shapes.class_names, settings=TINY) is detector
    assert detector.class_names == shapes.class_names
    assert detector.svms.coef_.shape == (len(shapes.class_names), 8)
    assert detector.config is not None
    assert detector.config.finetune.rates[0][1] == 0.001  # chosen by the images; the paper's is 0.0001
    assert len(detector.detect(pairs[0][0]))
    in_folder = Detector.new().fit(shapes, folder=tmp_path / "run", settings=TINY)
    again = Detector.load(tmp_path / "run", precision="float32", trust=["reference"])
    for other in (in_folder, again):
        np.testing.assert_array_equal(other.svms.coef_, detector.svms.coef_)
    detector.save(tmp_path / "saved")
    detector.fit(pairs[:4], shapes.class_names)
    assert detector.config.svm == again.config.svm
    assert not np.array_equal(detector.svms.coef_, again.svms.coef_)


def test_mirror_images_are_mapped_for_the_svms(shapes: ShapesDataset, tmp_path: Path) -> None:
    found = {}
    for flip in ("false", "true"):
        settings = [*TINY, "finetune.iterations=0", "svm.layer=pool5", f"svm.flip={flip}"]
        found[flip] = Detector.new().fit(shapes, folder=tmp_path / flip, settings=settings)
        stages = read_json(tmp_path / flip / "run.json")["stages"]
        assert ("maps, mirrored" in stages) == (flip == "true")
    assert not np.array_equal(found["true"].svms.coef_, found["false"].svms.coef_)
    turned, straight = found["true"].regressor, found["false"].regressor
    assert np.array_equal(turned.weights_, straight.weights_)  # it learns of the images as they are


def test_torchvision_s_data_set(shapes: ShapesDataset) -> None:
    theirs = torchvision.datasets.VOCDetection(
        str(shapes.image_path(shapes.ids[0]).parents[3]), year="2007", image_set="trainval"
    )
    detector = Detector.new().fit(theirs, shapes.class_names, settings=TINY)
    assert detector.class_names == shapes.class_names


def test_what_cannot_be_fitted(shapes: ShapesDataset) -> None:
    with pytest.raises(ConfigError, match="there is no object to learn from"):
        Detector.new().fit([(np.zeros((50, 50, 3), np.uint8), {"boxes": [], "labels": []})], ["mug"])
    with pytest.raises(ConfigError, match=SOURCE):
        Detector.new(config_from({"data": {"root": ""}}, "test")).fit(shapes, settings=["svm.C=-1"])
    with pytest.raises(TypeError, match="is no data set"):
        Detector.new().fit(3)
    fitted = Detector(None, None, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="made of parts"):
        fitted.fit(PairsDataset([(shapes.image(shapes.ids[0]), shapes.target(shapes.ids[0]))], shapes.class_names))
