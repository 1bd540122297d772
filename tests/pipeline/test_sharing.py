"""Stages that several processes make together: each image by one of them, all of it there for all, to the bit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.crowd import crowd

from spp_det.config import load_config
from spp_det.datasets import VOCDataset, make_shapes
from spp_det.datasets.shapes import SHAPES_CLASSES
from spp_det.errors import ConfigError, DataError
from spp_det.pipeline import sharing, split
from spp_det.pipeline.sharing import Made, common_dtype, fill_stages, make_together
from spp_det.pipeline.split import open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.processes import ALONE, Processes

IDS = [f"image {number}" for number in range(60)]


def stages(folder: Path) -> list[StageFolder]:
    return [Store(folder).stage(name, 1, {}, {}) for name in ("first", "second")]


def fill(folder: Path, here: Processes) -> list[Any]:
    """What one process made of two stages, whether they were made at all, and what it reads of them in the end."""
    both, own = stages(folder), []

    def make(ids: Iterator[str]) -> Iterator[Made]:
        for image_id in ids:
            own.append(image_id)
            yield image_id, [{"a": np.full(3, IDS.index(image_id) + shift)} for shift in (0.5, 100)]

    def outer() -> None:
        make_together(both[1], lambda: fill_stages(both, IDS, make, "filling", here), print, here)

    made = make_together(both[0], outer, print, here)
    read = [[stage.read(image_id)["a"].tolist() for image_id in IDS] for stage in both]
    return [own, made, read]


def test_each_image_is_made_once_and_all_read_all(tmp_path: Path) -> None:
    stages(tmp_path / "alone")[1].write(IDS[7], {"a": np.full(3, 107.0)})  # was there before, of one stage alone
    expected = fill(tmp_path / "alone", ALONE)
    assert expected[:2] == [IDS, True]
    stages(tmp_path / "shared")[1].write(IDS[7], {"a": np.full(3, 107.0)})
    found = crowd(3, lambda here: fill(tmp_path / "shared", here))
    assert sorted(found[0][0] + found[1][0] + found[2][0]) == sorted(IDS)
    assert [each[1:] for each in found] == [expected[1:]] * 3
    for one, other in zip(stages(tmp_path / "alone"), stages(tmp_path / "shared"), strict=True):
        assert other.done
        facts = [(stage.folder / "stage.json").read_text() for stage in (one, other)]
        assert facts[0] == facts[1]  # the number, the bytes and the checksums of what is there
    assert crowd(2, lambda here: fill(tmp_path / "shared", here)[:2]) == [[[], False]] * 2


class Counting(VOCDataset):
    """Says which images are read of it."""

    def image(self, image_id: str) -> np.ndarray:
        self.images.append(image_id)
        return super().image(image_id)


def opened(folder: Path, store: Path, here: Processes, skip_bad: bool = False) -> list[Any]:
    dataset = Counting(folder, classes=SHAPES_CLASSES)
    dataset.images = []
    found = open_split(Store(store), dataset, skip_bad, here)
    boxes = [found.targets[image_id].boxes.tolist() for image_id in found.ids]
    own = sorted(dataset.images)
    return [own, list(found.ids), found.sizes, boxes, found.skipped, found.images_key, found.targets_key]


def test_images_are_read_by_one_process_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "KEEP_EVERY", 4)
    folder = tmp_path / "shapes"
    make_shapes(folder, 11, 1)
    for number in (8, 3):
        path = next(folder.rglob(f"train_{number:05d}.jpg"))
        path.write_bytes(path.read_bytes()[:300])
    alone = opened(folder, tmp_path / "alone", ALONE, skip_bad=True)
    assert list(alone[4]) == ["train_00003", "train_00008"]
    found = crowd(3, lambda here: opened(folder, tmp_path / "shared", here, skip_bad=True))
    as_json = [alone[1], {name: list(size) for name, size in alone[2].items()}, *alone[3:]]
    assert [each[1:] for each in found] == [as_json] * 3
    assert sorted(name for each in found for name in each[0]) == alone[0]
    assert [list(each[4]) for each in found] == [list(alone[4])] * 3
    with pytest.raises(DataError, match=r"train_0000[38]"):
        opened(folder, tmp_path / "other", ALONE)


def test_the_type_is_the_same_everywhere_or_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(here: Processes) -> str:
        kinds = ("float32", "bfloat16")
        monkeypatch.setattr(sharing, "compute_dtype", lambda name: kinds[here.rank] if name == "auto" else name)
        config = load_config(Path(__file__).parents[2] / "configs" / "shapes.toml", [f"precision={os.environ['KIND']}"])
        try:
            return str(common_dtype(config, here))
        except ConfigError as fault:
            return str(fault)

    monkeypatch.setenv("KIND", "float32")
    assert crowd(2, work) == ["float32"] * 2
    monkeypatch.setenv("KIND", "auto")
    assert (
        crowd(2, work)
        == ['precision = "auto" is not the same on all machines (bfloat16, float32): --set precision=float32'] * 2
    )
