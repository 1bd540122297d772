"""Data sets that torchvision has read, and lists of (image, target)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from reference.dataset_forms import write_coco
from torchvision.datasets import CocoDetection, VOCDetection

from spp_det.datasets import SHAPES_CLASSES, CocoDataset, VOCDataset, image_digest, make_shapes
from spp_det.datasets.memory import PairsDataset, as_dataset
from spp_det.errors import DataError
from spp_det.pipeline.split import open_split
from spp_det.pipeline.store import Store
from spp_det.structures import Target


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes in a VOCdevkit folder, as torchvision wants it."""
    root = tmp_path_factory.mktemp("memory") / "VOCdevkit"
    make_shapes(root, 5, 2)
    return root


def voc(shapes: Path) -> VOCDataset:
    return VOCDataset(shapes, "2007", "trainval", SHAPES_CLASSES)


def assert_same(ours, theirs) -> None:
    assert len(ours) == len(theirs)
    assert ours.class_names == theirs.class_names
    for mine, other in zip(ours.ids, theirs.ids, strict=True):
        assert np.array_equal(ours.target(mine).boxes, theirs.target(other).boxes)
        assert np.array_equal(ours.target(mine).labels, theirs.target(other).labels)
        assert np.array_equal(ours.image(mine), theirs.image(other))
        assert ours.size(mine) == theirs.size(other)


def test_torchvision_voc(shapes: Path) -> None:
    source = VOCDetection(str(shapes.parent), year="2007", image_set="trainval")
    dataset = as_dataset(source, SHAPES_CLASSES)
    assert_same(dataset, voc(shapes))
    assert dataset.ids == voc(shapes).ids
    assert image_digest(dataset, dataset.ids[0]) == image_digest(voc(shapes), dataset.ids[0])
    with pytest.raises(DataError, match="unknown class"):
        as_dataset(source).target(dataset.ids[0])  # VOC's own names


def test_torchvision_coco(shapes: Path, tmp_path: Path) -> None:
    path = write_coco(voc(shapes), tmp_path, "trainval", crowds={("train_00000", 0)})
    dataset = as_dataset(CocoDetection(str(tmp_path / "trainval"), str(path)))
    assert_same(dataset, CocoDataset(tmp_path, "trainval"))
    assert dataset.crowds("train_00000.jpg").shape == (1, 4)
    assert as_dataset(CocoDetection(str(tmp_path / "trainval"), str(path)), ["star"]).class_names == ("star",)


def test_lists_of_images_and_targets(shapes: Path, tmp_path: Path) -> None:
    own = voc(shapes)
    pairs = []
    for number, image_id in enumerate(own.ids):
        target = own.target(image_id)
        table = {"boxes": torch.from_numpy(target.boxes), "labels": torch.from_numpy(target.labels)}
        path, pixels = own.image_path(image_id), own.image(image_id)
        images = [path, str(path), pixels, PillowImage.fromarray(pixels), pixels]
        targets = [table, {**table, "difficult": target.difficult}, target, target, table]
        pairs.append((images[number], targets[number]))
    dataset = as_dataset(pairs, SHAPES_CLASSES)
    assert_same(dataset, own)
    assert dataset.ids == ("000000", "000001", "000002", "000003", "000004")
    split = open_split(Store(tmp_path / "store"), dataset)
    assert len(split.ids) == 5
    assert as_dataset(dataset) is dataset
    assert len({image_digest(dataset, image_id) for image_id in dataset.ids}) == 5
    again = as_dataset(iter(pairs), SHAPES_CLASSES)
    assert [image_digest(again, i) for i in again.ids] == [image_digest(dataset, i) for i in dataset.ids]
    assert dataset.image_path("000000") == own.image_path(own.ids[0])
    with pytest.raises(DataError, match="is in memory"):
        dataset.image_path("000002")


def a_pair(boxes, labels, **more):
    return np.zeros((20, 30, 3), np.uint8), {"boxes": boxes, "labels": labels, **more}


def test_names_and_crowds_of_pairs() -> None:
    dataset = PairsDataset([a_pair([], []), a_pair([[0, 0, 5, 5], [2, 2, 9, 9]], [0, 2], iscrowd=[0, 1])])
    assert dataset.class_names == ("class 0", "class 1", "class 2")
    assert dataset.target("000001").difficult.tolist() == [False, True]
    assert len(dataset.target("000000")) == 0


def test_a_callers_array_may_change_afterwards() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    dataset = PairsDataset([(image, Target(np.array([[0, 0, 5, 5]], np.float32), [0], [False]))])
    image[:] = 9
    assert not dataset.image("000000").any()


def test_bad_pairs_are_skipped_or_told(tmp_path: Path) -> None:
    good = a_pair([[0, 0, 5, 5]], [0])
    missing = (tmp_path / "none.jpg", good[1])
    bad = [a_pair([[5, 0, 5, 5]], [0]), a_pair([[0, 0, 5, 50]], [0]), a_pair([[0, 0, 5, 5]], [1]), missing]
    words = [
        "pair 1: one of its boxes is empty",
        "pair 2: one of its boxes lies outside",
        "has the label 1",
        "none.jpg",
    ]
    for fault, expected in zip(bad, words, strict=True):
        dataset = PairsDataset([good] * words.index(expected) + [good, fault], ["nut"])
        with pytest.raises(DataError) as told:
            open_split(Store(tmp_path / "store"), dataset)
        assert expected.replace("pair 1", f"pair {len(dataset) - 1}").split(":")[-1] in str(told.value)
    split = open_split(Store(tmp_path / "store"), PairsDataset([good, *bad], ["nut"]), skip_bad=True)
    assert split.ids == ("000000",)
    assert len(split.skipped) == 4


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "there is no"),
        ([3], "pair 0 is not"),
        ([a_pair([], [])[:1]], "pair 0 is not"),
        ([(np.zeros((4, 4), np.uint8), {"boxes": [], "labels": []})], "an image is uint8"),
        ([a_pair([[0, 0, 1, 1]], [])], "has 1 boxes and 0 labels"),
        ([(np.zeros((4, 4, 3), np.uint8), {"boxes": []})], "neither a Target nor a table"),
    ],
)
def test_what_is_no_pair(pairs, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        as_dataset(pairs)


def test_what_is_no_data_set() -> None:
    for source in (3, "a folder", {"boxes": []}, np.zeros(3)):
        with pytest.raises(TypeError, match="is no data set"):
            as_dataset(source)
