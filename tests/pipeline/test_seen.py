"""What is read again at a start, and what is not; whatever is kept, the split is the one that was read afresh."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from spp_det.datasets import VOCDataset, image_files, make_shapes
from spp_det.datasets.shapes import SHAPES_CLASSES
from spp_det.errors import DataError
from spp_det.pipeline import seen
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import Store
from spp_det.structures import Target


class Counting(VOCDataset):
    """Says what is read of it."""

    def image(self, image_id: str) -> np.ndarray:
        self.images.append(image_id)
        return super().image(image_id)

    def target(self, image_id: str) -> Target:
        self.targets.append(image_id)
        return super().target(image_id)

    def target_basis(self) -> list[str]:
        return list(self.class_names)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_shapes(tmp_path / "shapes", 6, 2)
    monkeypatch.setattr(seen, "FRESH", 0)  # the files are as new as the tests
    monkeypatch.setattr(image_files, "SETTLED", 0)
    return tmp_path / "shapes"


def opened(folder: Path, store: Path, classes: tuple[str, ...] = SHAPES_CLASSES) -> tuple[Split, list[str], list[str]]:
    dataset = Counting(folder, classes=classes)
    dataset.images, dataset.targets = [], []
    return open_split(Store(store), dataset), sorted(dataset.images), sorted(dataset.targets)


def assert_same(one: Split, two: Split) -> None:
    assert (one.ids, one.sizes, one.images_key, one.targets_key) == (
        two.ids,
        two.sizes,
        two.images_key,
        two.targets_key,
    )
    assert list(one.targets) == list(two.targets) == list(one.ids)
    for image_id in one.ids:
        for name in ("boxes", "labels", "difficult"):
            np.testing.assert_array_equal(getattr(one.targets[image_id], name), getattr(two.targets[image_id], name))


def test_what_is_unchanged_is_read_once(folder: Path, tmp_path: Path) -> None:
    first, images, targets = opened(folder, tmp_path / "store")
    assert tuple(images) == tuple(targets) == first.ids
    dataset = VOCDataset(folder, classes=SHAPES_CLASSES)
    for image_id in first.ids:
        np.testing.assert_array_equal(first.targets[image_id].boxes, dataset.target(image_id).boxes)
        assert first.sizes[image_id] == dataset.size(image_id)
    again, images, targets = opened(folder, tmp_path / "store")
    assert (images, targets) == ([], [])
    assert_same(first, again)


@pytest.mark.parametrize("clock", ["kept", "set back"])
def test_a_changed_image_is_read_again_whatever_its_time(folder: Path, tmp_path: Path, clock: str) -> None:
    opened(folder, tmp_path / "store")
    paths = sorted(folder.rglob("JPEGImages/train_*.jpg"))
    facts = paths[2].stat()
    content = bytearray(paths[2].read_bytes())
    content[-30] ^= 1  # the same length
    paths[2].write_bytes(content)
    if clock == "set back":
        os.utime(paths[2], ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as if it had not been written since
    found, images, _ = opened(folder, tmp_path / "store")
    assert images == ["train_00002"]
    assert_same(found, opened(folder, tmp_path / "other")[0])


def test_a_touched_image_is_hashed_but_not_decoded(folder: Path, tmp_path: Path) -> None:
    first = opened(folder, tmp_path / "store")[0]
    next(folder.rglob("train_00001.jpg")).touch()
    again, images, _ = opened(folder, tmp_path / "store")
    assert images == []
    assert_same(first, again)


def test_a_changed_annotation_or_class_list_is_read_again(folder: Path, tmp_path: Path) -> None:
    opened(folder, tmp_path / "store")
    path = next(folder.rglob("train_00003.xml"))
    path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    found, images, targets = opened(folder, tmp_path / "store")
    assert (images, targets) == ([], ["train_00003"])
    assert found.targets["train_00003"].difficult.all()
    assert_same(found, opened(folder, tmp_path / "other")[0])
    turned, images, targets = opened(folder, tmp_path / "store", SHAPES_CLASSES[::-1])
    assert (images, len(targets)) == ([], 6)
    assert turned.targets["train_00003"].labels.tolist() == [
        6 - label for label in found.targets["train_00003"].labels.tolist()
    ]


def test_a_file_that_has_just_changed_is_not_relied_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "FRESH", 3600 * 10**9)
    opened(folder, tmp_path / "store")
    first = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: first - 1800 * 10**9)  # a clock set back half an hour
    _, images, targets = opened(folder, tmp_path / "store")
    assert images == []  # hashed again, and the same
    assert len(targets) == 6


def test_a_bad_image_is_looked_at_again_and_the_good_ones_are_not(folder: Path, tmp_path: Path) -> None:
    path = next(folder.rglob("train_00004.jpg"))
    good = path.read_bytes()
    path.write_bytes(good[:200])
    with pytest.raises(DataError, match=r"train_00004.jpg"):
        opened(folder, tmp_path / "store")
    dataset = VOCDataset(folder, classes=SHAPES_CLASSES)
    split = open_split(Store(tmp_path / "store"), dataset, skip_bad=True)
    assert list(split.skipped) == ["train_00004"]
    assert list(split.targets) == list(split.ids) == [f"train_0000{n}" for n in (0, 1, 2, 3, 5)]
    path.write_bytes(good)
    found, images, _ = opened(folder, tmp_path / "store")
    assert images == ["train_00004"]
    assert_same(found, opened(folder, tmp_path / "other")[0])


def test_a_broken_cache_is_made_again(folder: Path, tmp_path: Path) -> None:
    first = opened(folder, tmp_path / "store")[0]
    for path in (tmp_path / "store").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    assert_same(first, opened(folder, tmp_path / "store")[0])


def test_a_class_with_a_target_of_its_own_says_itself_what_that_follows_from(folder: Path, tmp_path: Path) -> None:
    class Own(VOCDataset):
        shift = 0.0

        def target(self, image_id: str) -> Target:
            target = super().target(image_id)
            return Target(target.boxes + self.shift, target.labels, target.difficult)

    dataset = Own(folder, classes=SHAPES_CLASSES)
    before = open_split(Store(tmp_path / "store"), dataset)
    Own.shift = 1.0
    after = open_split(Store(tmp_path / "store"), dataset)
    assert before.targets_key != after.targets_key
