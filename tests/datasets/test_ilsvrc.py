"""ILSVRC DET's layout, on a small tree that is generated here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from spp_det.config import load_config
from spp_det.datasets import DATASETS, positives_only, recognise
from spp_det.datasets.ilsvrc import ILSVRCDetection
from spp_det.datasets.ilsvrc_halves import halves, imbalance
from spp_det.datasets.ilsvrc_pretraining import ILSVRCPretraining, leaves, object_crop
from spp_det.detection.bundle import load_detector
from spp_det.errors import DataError
from spp_det.pipeline import evaluate_run, train
from spp_det.pipeline.packs import Packs
from spp_det.structures import Proposals
from spp_det.training.windows import make_windows

CONFIG = Path(__file__).parents[2] / "configs" / "ilsvrc_det_overfeat7.toml"
CLASSES = {"n01": "dog", "n02": "accordion", "n03": "traffic light"}


def xml(objects, size=(120, 160)) -> str:
    items = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><xmax>{x2}</xmax><ymin>{y1}</ymin><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, x1, y1, x2, y2 in objects
    )
    return f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{items}</annotation>"


def add(root: Path, image_id: str, objects, size=(120, 160)) -> None:
    rng = np.random.default_rng(len(image_id) + sum(map(ord, image_id)))
    picture = np.full((*size, 3), 90, np.uint8)
    for name, x1, y1, x2, y2 in objects:
        colour = {"n01": (220, 40, 40), "n02": (40, 220, 40), "n03": (40, 40, 220)}[name]
        picture[y1 : y2 + 1, x1 : x2 + 1] = colour
    picture = np.clip(picture + rng.integers(-20, 20, picture.shape), 0, 255).astype(np.uint8)
    for kind, suffix in (("Data", ".JPEG"), ("Annotations", ".xml")):
        path = root / kind / "DET" / f"{image_id}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "Data":
            PillowImage.fromarray(picture).save(path)
        else:
            path.write_text(xml(objects, size))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images to validate on, six to train on: dogs of two breeds and of none, and accordions."""
    root = tmp_path / "ILSVRC"
    lists = root / "ImageSets" / "DET"
    lists.mkdir(parents=True)
    (root / "devkit/data").mkdir(parents=True)
    rows = [f"{synset} {number} {name}" for number, (synset, name) in enumerate(CLASSES.items(), 1)]
    (root / "devkit/data/map_det.txt").write_text("\n".join(rows))
    (root / "devkit/data/wordnet.is_a.txt").write_text("n00 n01\nn01 n11\nn11 n111\nn01 n12\nn00 n02\n")
    names = [f"ILSVRC2012_val_{number:08d}" for number in range(1, 11)]
    for number, name in enumerate(names):
        kind = ("n01", "n02", "n03")[number % 3]
        add(root, f"val/{name}", [(kind, 10 + number, 20, 70 + number, 90), ("n01", 100, 0, 159, 60)])
    (lists / "val.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names, 1)))
    folders = {"n111": 2, "n12": 1, "n01": 1, "n02": 2}
    lines: list[str] = []
    for folder, count in folders.items():
        for number in range(count):
            name = f"ILSVRC2013_train/{folder}/{folder}_{number}"
            add(root, f"train/{name}", [("n02" if folder == "n02" else "n01", 40, 30, 120, 100)])
            lines.append(name)
    dogs = [f"{name} {'-1' if '/n02/' in name else '1'}" for name in lines]
    accordions = [f"{name} {'1' if '/n02/' in name else '0'}" for name in lines]
    (lists / "train_1.txt").write_text("\n".join(dogs))
    (lists / "train_2.txt").write_text("\n".join([*accordions, f"{lines[0]} 1"]))
    return root


def test_classes_boxes_and_splits(root: Path) -> None:
    val = ILSVRCDetection(root.parent, "val")
    assert val.class_names == ("dog", "accordion", "traffic light")
    assert val.synsets == ("n01", "n02", "n03")
    assert len(val) == 10
    target = val.target(val.ids[0])
    assert target.boxes.tolist() == [[10, 20, 71, 91], [100, 0, 160, 61]]  # from 0, the last pixel included
    assert target.labels.tolist() == [0, 0]
    assert not target.difficult.any()
    assert val.image(val.ids[0]).shape == (120, 160, 3)
    assert val.size(val.ids[0]) == (120, 160)
    train = ILSVRCDetection(root, "train")
    assert [Path(i).name for i in train.ids] == ["n111_0", "n111_1", "n12_0", "n01_0", "n02_0", "n02_1"]
    assert positives_only(train) == set(train.ids)
    assert not positives_only(val)
    both = ILSVRCDetection(root, "val1+train")
    assert set(both.ids[-6:]) == positives_only(both) == set(train.ids)
    from_one = ILSVRCDetection(root, "val", first_pixel=1)
    assert from_one.target(from_one.ids[1]).boxes[0].tolist() == [10, 19, 71, 90]


def test_recognised_by_looking(root: Path) -> None:
    found = recognise(root.parent)
    assert (found.format, found.train, found.test) == ("ilsvrc_det", "val1+train", "val2")
    assert found.class_names == tuple(CLASSES.values())
    assert len(found.dataset(found.train)) == 11


def test_some_classes_in_another_order(root: Path) -> None:
    some = ILSVRCDetection(root, "val", ["traffic light", "accordion"])
    assert [some.target(i).labels.tolist() for i in some.ids[:3]] == [[], [1], [0]]
    with pytest.raises(DataError, match=r"map_det\.txt: has no class 'cat'"):
        ILSVRCDetection(root, "val", ["cat"])


def test_val_is_cut_in_two_always_in_the_same_way(root: Path) -> None:
    first, second = (ILSVRCDetection(root, part) for part in ("val1", "val2"))
    assert sorted(first.ids + second.ids) == sorted(ILSVRCDetection(root, "val").ids)
    assert abs(len(first) - len(second)) <= 1
    assert ILSVRCDetection(root, "val1").ids == first.ids
    assert ILSVRCDetection(root, "val1", ["accordion"]).ids == first.ids  # all classes count, whichever are kept
    (root / "ImageSets/DET/val1.txt").write_text("ILSVRC2012_val_00000004 1\n")
    assert ILSVRCDetection(root, "val1").ids == ("val/ILSVRC2012_val_00000004",)


def test_a_broken_annotation_does_not_keep_val_from_being_cut(root: Path) -> None:
    path = root / "Annotations/DET/val/ILSVRC2012_val_00000001.xml"
    path.write_text("<annotation>")
    halves_of_val = [ILSVRCDetection(root, part) for part in ("val1", "val2")]
    assert sum(len(half) for half in halves_of_val) == 10
    with pytest.raises(DataError, match="not well-formed"):
        ILSVRCDetection(root, "val").target("val/ILSVRC2012_val_00000001")


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 8))
def test_halves_are_balanced(seed: int, images: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, (images, classes))
    in_first = halves(counts)
    assert in_first.shape == (images,)
    assert np.array_equal(in_first, halves(counts))
    uneven = imbalance(counts, in_first)
    assert ((uneven >= 0) & (uneven <= 1)).all()
    first = counts[in_first].sum(axis=0)
    assert np.allclose(uneven * counts.sum(axis=0), np.abs(2 * first - counts.sum(axis=0)))


def test_halves_of_many_images_are_nearly_even() -> None:
    rng = np.random.default_rng(0)
    counts = (rng.random((4000, 200)) < rng.uniform(0.005, 0.2, 200)).astype(np.int64)
    in_first = halves(counts)
    assert abs(in_first.mean() - 0.5) < 0.01
    assert imbalance(counts, in_first).max() < 0.11  # the tech report's worst class
    assert imbalance(counts, rng.random(4000) < 0.5).max() > 0.11


def test_positives_only_gives_ground_truth_and_nothing_else(root: Path) -> None:
    train = ILSVRCDetection(root, "train")
    target = train.target(train.ids[0])
    proposals = Proposals(np.array([[0, 0, 50, 50]], np.float32))
    windows = make_windows(target, proposals, 3, exhaustive=False)
    assert windows.boxes.tolist() == target.boxes.tolist()
    assert windows.is_truth.all()
    assert not windows.exhaustive
    assert len(make_windows(target, proposals, 3)) == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("devkit/data/map_det.txt", "n01 dog", "has the line 'n01 dog'"),
        ("devkit/data/map_det.txt", "n01 1 dog\nn02 2 dog", "has the line 'n02 2 dog'"),
        ("devkit/data/map_det.txt", None, "there is no such file"),
        ("ImageSets/DET/train_1.txt", "a b c", "has the line 'a b c'"),
        ("ImageSets/DET/train_1.txt", "", "is empty"),
        ("ImageSets/DET/val.txt", None, "there is no such file"),
    ],
)
def test_faults_name_the_file(root: Path, name: str, text: str | None, words: str) -> None:
    path = root / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=words) as told:
        ILSVRCDetection(root, "val+train")
    assert told.value.path == str(path)


def test_other_faults(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are train, val, val1 and val2"):
        ILSVRCDetection(root, "trainval")
    with pytest.raises(DataError, match="in two of the splits"):
        ILSVRCDetection(root, "val1+val")
    with pytest.raises(DataError, match="lacks the folder Annotations/DET"):
        ILSVRCDetection(tmp_path.parent)
    with pytest.raises(DataError, match="there is no such folder"):
        ILSVRCDetection(tmp_path / "none")
    for path in (root / "ImageSets/DET").glob("train_*.txt"):
        path.unlink()
    with pytest.raises(DataError, match=r"holds no train_1\.txt"):
        ILSVRCDetection(root, "train")
    add(root, "val/ILSVRC2012_val_00000001", [("n01", 10, 20, 161, 90)])
    val = ILSVRCDetection(root, "val")
    with pytest.raises(DataError, match="outside its image: x is 0 to 159"):
        val.target(val.ids[0])
    add(root, "val/ILSVRC2012_val_00000001", [("n01", 10, 20, 160, 90)])  # by one pixel: cut off
    assert val.target(val.ids[0]).boxes.tolist() == [[10, 20, 160, 91]]


def test_leaves_of_the_hierarchy(root: Path) -> None:
    view = ILSVRCPretraining(root)
    assert view.class_names == ("n02", "n111", "n12")  # n01 stands above two of them
    assert view.labels.tolist() == [1, 1, 2, 0, 0]
    assert len(view) == len(view.ids) == 5
    assert leaves({"b", "d"}, {"b": ["a"], "c": ["b"], "d": ["c"]}) == ("d",)  # also through a synset without images
    assert leaves({"a", "b"}, {"a": ["b"], "b": ["a"]}) == ()  # a circle has no leaf, and ends
    (root / "devkit/data/wordnet.is_a.txt").write_text("n00 n01 n02\n")
    with pytest.raises(DataError, match="not a parent and a child"):
        ILSVRCPretraining(root)
    with pytest.raises(DataError, match=r"none\.txt: there is no such file"):
        ILSVRCPretraining(root, root / "none.txt")


def test_crops_show_an_object(root: Path) -> None:
    view = ILSVRCPretraining(root)
    rng = np.random.default_rng(0)
    crop = view.crop(view.ids[0], rng)  # 120 x 160 becomes 400 x 533, the object 270 x 237
    assert crop is not None
    assert crop.shape == (224, 224, 3)
    assert crop.dtype == np.uint8
    assert object_crop(np.zeros((400, 400, 3), np.uint8), np.array([[0, 0, 30, 30]], np.float32), rng) is None
    assert object_crop(np.zeros((400, 400, 3), np.uint8), np.zeros((0, 4), np.float32), rng) is None
    assert (
        object_crop(np.zeros((9, 900, 3), np.uint8), np.array([[0, 0, 9, 9]], np.float32), rng) is None
    )  # 400 x 40000


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_every_crop_overlaps_an_object_by_a_half(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(80, dtype=np.uint8), np.arange(60, dtype=np.uint8))
    image = np.stack([x, y, x], axis=2)  # every pixel says where it is
    corner = rng.uniform(0, 30, 2)
    box = np.concatenate([corner, corner + rng.uniform(10, 30, 2)]).astype(np.float32)
    crop = object_crop(image, box[None], rng, short_side=60, crop=20)
    places = [
        (left, top)
        for top in range(41)
        for left in range(61)
        if plain_iou((left, top, left + 20, top + 20), box.tolist()) >= 0.5
    ]
    assert (crop is None) == (not places)
    if crop is not None:
        assert (int(crop[0, 0, 0]), int(crop[0, 0, 1])) in places


def plain_iou(a, b) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, wide) * max(0, high)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_the_configuration_trains_and_tests_on_the_tree(root: Path, tmp_path: Path) -> None:
    quick = [
        "trunk.name=efficientnet_lite0",
        "precision=float32",
        "maps.scales=[160]",
        "finetune.iterations=6",
        "finetune.hidden=[16, 16]",
        "finetune.flip=false",
        "proposals.max_windows=60",
        "proposals.min_side=8",
        "svm.C=1.0",
    ]
    config = load_config(CONFIG, quick, data__root=str(root))
    assert DATASETS[config.data.format] is ILSVRCDetection
    train(config, tmp_path / "run")
    packs = [Packs(folder) for folder in (tmp_path / "store" / "proposals").iterdir()]
    sizes = [len(each.get(name)) for each in packs for name in each.names() if name.startswith("train/")]
    assert len(sizes) == 6
    assert max(sizes) < 200  # no proposals where they are of no use
    metrics = evaluate_run(tmp_path / "run")
    assert metrics["images"] == len(ILSVRCDetection(root, "val2"))
    assert load_detector(tmp_path / "run").class_names == tuple(CLASSES.values())
