"""The paper's tables of classification as rows, and a row of each kind run in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from reference.classes import make_folders

from spp_det.classification.config import ClassificationConfig
from spp_det.classification.features import ImageFeatures
from spp_det.classification.tables import Row, row_config, row_features, rows, run_row, training_folder
from spp_det.config import checked
from spp_det.errors import ConfigError
from spp_det.networks import TRUNKS

SMALL: dict[str, Any] = {"trunk": "reference.classes:small_trunk", "side": 32, "levels": (1, 2)}
QUICK: dict[str, Any] = {
    "training.epochs": 2,
    "training.batch_size": 8,
    "training.short_side": 36,
    "training.crop": 32,
    "training.sizes": (32,),
    "training.workers": 0,
    "classifier.hidden": (16, 16),
    "classifier.levels": (1, 2),
    "testing.short_side": 36,
    "testing.view": 32,
    "testing.scales": (32,),
    "trunk.name": "reference.classes:small_trunk",
}


@pytest.mark.parametrize(("table", "count"), [(2, 14), (3, 8), (4, 3), (6, 19), (7, 19)])
def test_rows_have_names_of_their_own_and_settings_that_hold(table: int, count: int) -> None:
    found = rows(table)
    assert len(found) == count
    assert len({row.name for row in found}) == count
    for row in found:
        assert row.table == table
        assert row.paper
        if row.kind == "imagenet":
            parts: dict[str, Any] = {"data": {"root": "."}}
            for key, value in row.settings.items():
                part, name = key.split(".")
                parts.setdefault(part, {})[name] = value
            assert checked(parts, ClassificationConfig, row.name).trunk.name in TRUNKS
        else:
            assert ImageFeatures(**row.settings).trunk in TRUNKS


def test_some_of_the_papers_figures() -> None:
    figures = {row.name: row.paper for table in (2, 3, 4, 6, 7) for row in rows(table)}
    assert figures["ZF-5, no SPP, 10 views"] == {"top-1": 35.99, "top-5": 14.76}
    assert figures["Overfeat-7, multi-size, full view"] == {"top-1": 31.25}
    assert figures["Overfeat-7, multi-size, 98 views"] == {"top-1": 27.86, "top-5": 9.14}
    assert figures["SPP Overfeat-7, full 364, fc7"] == {"mAP": 82.44}
    assert figures["SPP Overfeat-7, full 224, pyramid"] == {"accuracy": 93.42}
    with pytest.raises(ValueError, match="2, 3, 4, 6 and 7"):
        rows(5)


def test_a_row_of_training_and_testing_and_one_of_splits(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    make_folders(tmp_path / "data" / "train", 4)
    make_folders(tmp_path / "data" / "val", 2)
    row = rows(2)[0]
    found = run_row(row, tmp_path / "data", tmp_path / "runs", QUICK)
    assert found.keys() == row.paper.keys()
    assert found["top-5"] == 0  # there are three classes
    assert len(list((tmp_path / "runs").glob("zf5_no_SPP-*/model.safetensors"))) == 1
    caltech = Row(7, "small", "caltech", SMALL, {"accuracy": 0.0}, "small")
    changes = {"weights": "random", "train": 2, "test": 2, "splits": 2}
    accuracy = run_row(caltech, tmp_path / "data" / "train", tmp_path, changes)
    assert 0 <= accuracy["accuracy"] <= 100
    torch.set_num_threads(before)


def test_a_row_on_real_photographs(voc_root: Path, tmp_path: Path) -> None:
    """A devkit with few images of the real one, by links to it."""
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for name in ("Annotations", "JPEGImages"):
        (folder / name).symlink_to(voc_root / "VOC2007" / name)
    for split in ("trainval", "test"):
        lines = (voc_root / "VOC2007" / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(lines[:20]))
    row = Row(6, "small", "voc", SMALL, {"mAP": 0.0}, "small")
    assert 0 < run_row(row, tmp_path / "VOCdevkit", tmp_path, {"weights": "random"})["mAP"] <= 100


def test_rows_of_one_network_share_its_training() -> None:
    config = {row.name: training_folder(row, row_config(row)) for table in (2, 3, 4) for row in rows(table)}
    same = {"Overfeat-7, multi-size, 10 views", "Overfeat-7, multi-size, full view", "Overfeat-7, multi-size, 98 views"}
    assert len({config[name] for name in same}) == 1
    assert len(set(config.values())) == 14  # table 2 has a training in every row, the others no further one


def test_a_setting_that_no_row_has() -> None:
    with pytest.raises(ConfigError, match=r"ZF-5, no SPP, 10 views: .*\$.training"):
        row_config(rows(2)[0], {"training.epoch": 2})
    with pytest.raises(ConfigError, match=r"fc7: there is no setting sidde; there are .*side"):
        row_features(rows(6)[-1], {"sidde": 2})
