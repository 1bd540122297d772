"""R-CNN trained and tested as a whole by the functions that the tools call, on *shapes* with a tiny trunk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import spp_det.pipeline.learn
from spp_det import Detector
from spp_det.config import Config, load_config
from spp_det.detection.bundle import load_detector
from spp_det.errors import ConfigError, WeightsError
from spp_det.files import read_arrays, write_arrays
from spp_det.pipeline import evaluate_run, train
from spp_det.pipeline.packs import Packs
from spp_det.pipeline.store import StageFolder, Store
from spp_det.pipeline.training import Run
from spp_det.regions import RCNNRegions
from spp_det.training import Moments

CONFIG = Path(__file__).parent.parent.parent / "configs" / "shapes.toml"
SETTINGS = [
    "precision=float32",
    "data.options={train=8, test=4}",
    "trunk.name=reference.tiny_trunk:tiny_trunk",
    "trunk.weights=random",
    "proposals.max_windows=80",
    "maps.levels=[1, 3]",
    "maps.scales=[160]",
    "regions.crop_size=48",
    "regions.context=4",
    "finetune.iterations=12",
    "finetune.chunk=3",
    "finetune.batch_size=16",
    "finetune.windows_per_image=8",
    "finetune.hidden=[24, 16]",
    "finetune.first_conv=2",
    "regress.min_overlap=0.6",
]
RCNN = "regions.kind=rcnn"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rcnn")


@pytest.fixture(scope="module")
def run(workplace: Path) -> Path:
    train(config(workplace, RCNN), workplace / "runs" / "rcnn")
    return workplace / "runs" / "rcnn"


def config(workplace: Path, *overrides: str) -> Config:
    return load_config(CONFIG, [*SETTINGS, *overrides], data__root=str(workplace / "shapes"))


def stages(run: Path) -> dict[str, str]:
    return {name: stage["key"] for name, stage in json.loads((run / "run.json").read_text())["stages"].items()}


def artefacts(folder: Path) -> dict[str, bytes]:
    """Every file that a run leaves but those that say how long it took, where things are, and how old the images."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in ("run.json", "training.json")]
    files = [file for file in files if not {"check", "uses"} & set(file.parts)]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_the_layers_from_the_chosen_one_on_have_learnt(run: Path, workplace: Path) -> None:
    tuned = read_arrays(run / "trunk.safetensors")
    start = Run(config(workplace, RCNN), Store(workplace / "runs" / "store"), False).trunk.state()
    changed = {name for name, value in start.items() if not np.array_equal(value.numpy(), tuned[name])}
    assert changed == {"conv2.weight", "conv2.bias"}


def test_it_is_tested_and_loaded_as_any_other(run: Path, workplace: Path) -> None:
    metrics = evaluate_run(run)
    assert metrics["images"] == 4
    assert np.isfinite(metrics["voc07"]["map"])
    detector = Detector.load(run, precision="float32")
    weights = {name: value.numpy() for name, value in detector.regions.trunk.state().items()}
    tuned = read_arrays(run / "trunk.safetensors")
    assert all(np.array_equal(weights[name], value) for name, value in tuned.items())
    picture = next((workplace / "shapes").rglob("JPEGImages/test_*.jpg"))
    assert len(detector.detect(picture)) > 0


def test_the_store_has_the_vectors_that_the_svms_read(run: Path, workplace: Path) -> None:
    again = Run(config(workplace, RCNN), Store(workplace / "runs" / "store"), False)
    again.prepare()
    boxes = again.source.windows(3).boxes
    again.learn()
    stage = again.plan["fc7 of crops"]
    assert stage.key == stages(run)["fc7 of crops"]
    stored = stage.read(again.split.ids[3])
    assert stored["vectors"].dtype == np.float16
    assert stored["vectors"].shape == (len(boxes), 16)
    some = np.array([5, 0, 7])
    read = again.source.features(3, boxes[some], "fc7")
    computed = again.regions.window_features(again.split.dataset.image(again.split.ids[3]), boxes[some], "fc7")
    np.testing.assert_array_equal(read, computed.astype(np.float16).astype(np.float32))


def test_what_is_shared_is_not_made_twice(run: Path, workplace: Path) -> None:
    train(config(workplace), workplace / "runs" / "spp")
    train(config(workplace, RCNN, "svm.C=0.1", "maps.scales=[200]"), workplace / "runs" / "other")
    ours, spp, other = (stages(workplace / "runs" / name) for name in ("rcnn", "spp", "other"))
    assert ours["proposals"] == spp["proposals"]
    assert {name for name in ours if ours[name] != other[name]} == {"SVMs"}  # R-CNN has no scale
    assert "maps" not in ours


class KilledError(Exception):
    pass


def test_stopped_twice_it_ends_in_the_same_bytes(
    run: Path, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start() -> None:
        train(config(workplace, RCNN), tmp_path / "rcnn")

    @contextmanager
    def killing(_: str) -> Iterator[object]:
        def show(done: int, total: int) -> None:
            if done == 8:
                raise KilledError

        yield show

    with monkeypatch.context() as patch:
        patch.setattr(spp_det.pipeline.learn, "progress", killing)
        with pytest.raises(KilledError):
            start()
    assert list(tmp_path.rglob("finetune/*/checkpoint.safetensors"))
    write = StageFolder.write

    def three(stage: StageFolder, name: str, arrays: dict[str, np.ndarray]) -> None:
        if len(stage.names()) == 3:
            raise KilledError
        write(stage, name, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(StageFolder, "write", three)
        with pytest.raises(KilledError):
            start()
    assert len(Packs(next(tmp_path.glob("store/vectors/*"))).names()) == 3
    start()
    expected = artefacts(workplace / "runs" / "rcnn")
    found = artefacts(tmp_path / "rcnn")
    assert [name for name in found if found[name] != expected[name]] == []
    assert found.keys() == expected.keys() - {"metrics.json"}


def test_without_fine_tuning_the_trunk_stays(workplace: Path) -> None:
    out = workplace / "runs" / "untuned"
    train(config(workplace, RCNN, "finetune.iterations=0", "svm.layer=pool5", "regress.enabled=false"), out)
    assert "tuned_trunk" not in json.loads((out / "detector.json").read_text())
    assert not (out / "trunk.safetensors").exists()
    assert evaluate_run(out)["voc07"]["map"] >= 0


def test_a_trunk_that_is_not_tuned_sees_each_crop_once(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pool5, fc6 and fc7, fine-tuned with mirrored images or not, all start from the stored pooled vectors."""
    frozen = [RCNN, "finetune.first_conv=0", "finetune.flip=true"]
    out = workplace / "runs" / "frozen"
    train(config(workplace, *frozen), out)
    again = Run(config(workplace, *frozen), Store(workplace / "runs" / "store"), False)
    again.prepare()
    boxes = again.source.windows(3).boxes
    computed = {flipped: again.source.pooled(3, boxes, flipped=flipped) for flipped in (False, True)}
    assert not np.array_equal(computed[False], computed[True])

    def no_crops(*_: object) -> None:
        raise AssertionError("the crops were seen before")

    monkeypatch.setattr(RCNNRegions, "crops", no_crops)
    again.learn()
    for flipped, vectors in computed.items():
        stored = again.source.pooled(3, boxes, flipped=flipped)
        np.testing.assert_array_equal(stored, vectors.astype(np.float16).astype(np.float32))
    pooled = again.source.pooled(3, boxes)
    np.testing.assert_array_equal(again.source.features(3, boxes, "fc7"), again.head.numpy(pooled, "fc7"))
    untuned = ["finetune.iterations=0", "svm.layer=fc6"]
    train(config(workplace, RCNN, *untuned), workplace / "runs" / "fc6")
    ours, theirs = stages(out), stages(workplace / "runs" / "fc6")
    assert {name for name in theirs if ours[name] == theirs[name]} == {"proposals", "pool5 of crops", "box regression"}
    assert ours.keys() - theirs.keys() == {"pool5 of crops, mirrored"}
    start = Run(config(workplace, *frozen), Store(workplace / "runs" / "store"), False).head.state()
    tuned = read_arrays(out / "head.safetensors")
    assert all(not np.array_equal(value.numpy(), tuned[name]) for name, value in start.items())


def test_layers_behind_a_trunk_that_is_not_tuned_may_learn_on_standardised_vectors(workplace: Path) -> None:
    """They start on what is standardised, and end as layers of the vectors as they are, like SPP-net's."""
    out = workplace / "runs" / "standardised"
    rate = "finetune.rates=[[12, 0.0]]"  # nothing is learnt, so that what is folded stands alone
    train(config(workplace, RCNN, "finetune.first_conv=0", "finetune.standardise=true", rate), out)
    made = Run(config(workplace, RCNN, "finetune.first_conv=0", rate), Store(workplace / "runs" / "store"), False)
    made.prepare()
    made.keep_vectors("pool5")
    moments = Moments.draw(made.source, "pool5", made.config.seed)
    vectors = made.source.pooled(0, made.source.windows(0).boxes)
    expected = made.head.numpy(moments.standardise(vectors.copy()), "fc7")
    np.testing.assert_allclose(load_detector(out).regions.head.numpy(vectors, "fc7"), expected, rtol=1e-3, atol=1e-4)


def test_another_trunk_than_its_own_is_refused(run: Path, workplace: Path, tmp_path: Path) -> None:
    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tuned = read_arrays(run / "trunk.safetensors")
    write_arrays(tmp_path / "trunk.safetensors", {name: value + 1 for name, value in tuned.items()})
    with pytest.raises(WeightsError, match=r"trunk.safetensors: is not the trunk"):
        load_detector(tmp_path)
    del tuned["conv2.bias"]
    write_arrays(tmp_path / "trunk.safetensors", tuned)
    with pytest.raises(WeightsError, match=r"trunk.safetensors: has no tensor conv2.bias"):
        load_detector(tmp_path)


def test_more_convolutions_than_there_are(workplace: Path) -> None:
    with pytest.raises(ConfigError, match="tiny has 2 convolutions"):
        train(config(workplace, RCNN, "finetune.first_conv=3"), workplace / "runs" / "none")
