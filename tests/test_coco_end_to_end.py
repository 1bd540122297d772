"""Training and testing on COCO's form, and on what is in memory; the figures beside pycocotools on the files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from reference.dataset_forms import write_coco

from spp_det import Detector
from spp_det.config import config_to_toml, load_config
from spp_det.datasets import SHAPES_CLASSES, CocoDataset, VOCDataset, make_shapes
from spp_det.evaluation.coco import FIGURES
from spp_det.pipeline import evaluate_run, train

CONFIG = Path(__file__).parent.parent / "configs" / "shapes.toml"
QUICK = [
    "precision=float32",
    "data.format=coco",
    "data.options={}",
    "maps.scales=[200]",
    "finetune.iterations=40",
    "finetune.hidden=[32, 32]",
    "proposals.max_windows=150",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    make_shapes(root / "shapes", 16, 5)
    for split in ("trainval", "test"):
        own = VOCDataset(root / "shapes", "2007", split, SHAPES_CLASSES)
        write_coco(own, root / "data", split, crowds={("test_00001", 0), ("train_00002", 0)})
    train(load_config(CONFIG, QUICK, data__root=str(root / "data")), root / "runs" / "run")
    return root / "runs" / "run"


def test_the_twelve_figures_are_those_of_the_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = evaluate_run(run)
    assert "COCO's figures" in capsys.readouterr().out
    assert set(json.loads((run / "metrics.json").read_text())["coco"]) == set(FIGURES)
    data = run.parent.parent / "data"
    dataset, detector = CocoDataset(data, "test"), Detector.load(run, precision="float32")
    results = []
    for image_id in dataset.ids:
        number = dataset.table.images[image_id]["id"]
        found = detector.detect(dataset.image_path(image_id))
        for (x1, y1, x2, y2), score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            entry = {"image_id": number, "category_id": dataset.category_ids[label], "bbox": box, "score": float(score)}
            results.append(entry)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "annotations/instances_test.json"))
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    theirs = dict(zip(FIGURES, [value if value >= 0 else float("nan") for value in evaluation.stats], strict=True))
    assert metrics["coco"] == pytest.approx(theirs, abs=1e-6, nan_ok=True)
    assert metrics["coco"]["AP50"] > 0
    assert metrics["voc07"]["map"] > 0


def test_figures_of_another_form_on_request(run: Path) -> None:
    assert "coco" in evaluate_run(run, overrides=["evaluate.coco=true"])
    voc = run.parent.parent / "shapes"
    settings = ["data.format=shapes", "data.options={train=16, test=5}", "evaluate.coco=true"]
    metrics = evaluate_run(run, data=str(voc), overrides=settings)
    assert set(metrics["coco"]) == set(FIGURES)
    assert "coco" not in evaluate_run(run, data=str(voc), overrides=settings[:2])


def test_training_on_a_data_set_in_memory_is_training_on_its_files(run: Path) -> None:
    config = load_config(run / "config.toml")
    out = run.parent / "memory"
    train(config, out, dataset=CocoDataset(run.parent.parent / "data", "trainval"))
    assert (out / "svms.safetensors").read_bytes() == (run / "svms.safetensors").read_bytes()
    assert config_to_toml(load_config(out / "config.toml")) == config_to_toml(config)
