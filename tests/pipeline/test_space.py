"""What a run will write is said before, and maps that are not kept are the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spp_det.config import Config, load_config
from spp_det.errors import DataError
from spp_det.pipeline.space import check_space, expected_bytes
from spp_det.pipeline.store import Store
from spp_det.pipeline.training import Run

SHAPES = Path(__file__).parent.parent.parent / "configs" / "shapes.toml"
FEW = ["data.options={train=3, test=1}", "finetune.hidden=[16, 16]", "maps.scales=[64, 160]"]


def shapes(folder: Path, *overrides: str) -> Config:
    return load_config(SHAPES, [*FEW, "finetune.flip=true", *overrides], data__root=str(folder / "shapes"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("space")


@pytest.fixture(scope="module")
def kept(folder: Path) -> Run:
    run = Run(shapes(folder), Store(folder / "store"), False)
    run.expected = expected_bytes(run.plan, run.split, run.regions, None)
    run.prepare()
    return run


def test_the_maps_take_as_much_as_was_said(kept: Run) -> None:
    assert list(kept.expected) == ["proposals", "maps", "maps, mirrored"]
    for title, expected in kept.expected.items():
        real = kept.plan[title].packs.bytes()
        assert real <= expected
        assert title == "proposals" or expected <= 1.05 * real
    assert expected_bytes(kept.plan, kept.split, kept.regions, None) == {}


def test_a_part_that_is_there_is_not_counted_again(kept: Run, folder: Path) -> None:
    other = Run(shapes(folder), Store(folder / "other"), False)
    image_id = other.split.ids[0]
    other.plan["maps"].write(image_id, kept.plan["maps"].read(image_id))
    left = expected_bytes(other.plan, other.split, other.regions, None)
    assert left["maps"] == kept.expected["maps"] - other.plan["maps"].packs.bytes()


def test_it_is_said_in_a_line_and_refused_where_the_disk_is_too_small(
    kept: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Run(shapes(folder), Store(folder / "other" / "new"), False)
    said: list[str] = []
    check = (other.store, other.plan, other.split, other.regions, None, said.append)
    check_space(*check)
    assert len(said) == 1
    assert said[0].startswith("the store will take about ")
    assert "maps, mirrored" in said[0]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000))
    with pytest.raises(
        DataError, match=r"other/new: this run needs about .+ the disk has 100 kB free: maps.keep = false"
    ):
        check_space(*check)
    check_space(kept.store, kept.plan, kept.split, kept.regions, None, said.append)  # nothing is left to write
    assert len(said) == 1


def test_maps_that_are_not_kept_are_computed_to_the_same_bits(kept: Run, folder: Path) -> None:
    run = Run(shapes(folder, "maps.keep=false"), Store(folder / "store"), False)
    assert "maps" not in run.plan
    learning = ("fine-tuning", "SVMs", "box regression")
    assert [run.plan[title].key for title in learning] == [kept.plan[title].key for title in learning]
    run.prepare()
    boxes = kept.source.windows(1).boxes
    for flipped in (False, True):
        stored, computed = (each.source.pooled(1, boxes, flipped=flipped) for each in (kept, run))
        np.testing.assert_array_equal(stored, computed)
    layer = kept.source.features(1, boxes, "fc7"), run.source.features(1, boxes, "fc7")
    np.testing.assert_array_equal(*layer)
