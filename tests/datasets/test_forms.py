"""COCO's and YOLO's forms: the same data set in each gives the same objects, and a form is recognised by looking."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from reference.dataset_forms import write_coco, write_yolo

from spp_det.config import DataConfig
from spp_det.datasets import (
    SHAPES_CLASSES,
    VOC_CLASSES,
    CocoDataset,
    Dataset,
    VOCDataset,
    YoloDataset,
    crowds,
    make_shapes,
    object_areas,
    open_dataset,
    recognise,
)
from spp_det.datasets.check import check_dataset
from spp_det.datasets.held_out import split_and_part
from spp_det.datasets.voc_annotations import annotation_xml
from spp_det.errors import ConfigError, DataError
from spp_det.structures import Proposals, Target
from spp_det.training.windows import without_crowds


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forms") / "shapes"
    make_shapes(root, 7, 3)
    return root


def voc(shapes: Path, split: str) -> VOCDataset:
    return VOCDataset(shapes, "2007", split, SHAPES_CLASSES)


def vocs_own(folder: Path, names: tuple[str, ...]) -> Path:
    """One image in VOC's form with an object of each name."""
    target = Target(
        np.tile(np.float32([1, 2, 30, 40]), (len(names), 1)), np.arange(len(names)), np.zeros(len(names), bool)
    )
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    (folder / "Annotations/a.xml").write_bytes(annotation_xml("a.jpg", (50, 60), target, names))
    PillowImage.new("RGB", (60, 50)).save(folder / "JPEGImages/a.jpg")
    (folder / "ImageSets/Main/train.txt").write_text("a\n")
    return folder


def test_data_by_a_relative_path_are_looked_for_where_one_is(
    yolo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(yolo.parent)
    data = DataConfig(format="yolo", root=yolo.name)
    assert len(open_dataset(data, "train"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(DataError) as fault:
        open_dataset(data, "train")
    assert str(fault.value) == f"{yolo.name}: there is no such folder in {elsewhere}, where the command was given"


def test_vocs_own_classes_are_those_that_are_there(tmp_path: Path) -> None:
    few, all_twenty = vocs_own(tmp_path / "few", ("dog", "cat")), vocs_own(tmp_path / "all", VOC_CLASSES)
    assert (recognise(few).class_names, recognise(few).classes) == (("cat", "dog"), ("cat", "dog"))
    assert recognise(few).dataset("train").class_names == ("cat", "dog")
    assert (recognise(all_twenty).class_names, recognise(all_twenty).classes) == (VOC_CLASSES, None)


@pytest.fixture
def coco(shapes: Path, tmp_path: Path) -> Path:
    for split in ("trainval", "test"):
        write_coco(voc(shapes, split), tmp_path / "coco", split)
    return tmp_path / "coco"


@pytest.fixture
def yolo(shapes: Path, tmp_path: Path) -> Path:
    for split in ("train", "val"):
        write_yolo(voc(shapes, split), tmp_path / "yolo", split)
    lines = ["path: .", "train: images/train", "val: images/val", f"names: {list(SHAPES_CLASSES)}"]
    (tmp_path / "yolo/data.yaml").write_text("\n".join(lines))
    return tmp_path / "yolo"


def assert_same(ours: Dataset, theirs: Dataset, tolerance: float = 0) -> None:
    assert len(ours) == len(theirs)
    assert ours.class_names == theirs.class_names
    assert isinstance(ours, Dataset)
    by_name = {ours.image_path(image_id).stem: image_id for image_id in ours.ids}
    for image_id in theirs.ids:
        mine, other = ours.target(by_name[image_id]), theirs.target(image_id)
        assert np.allclose(mine.boxes, other.boxes, rtol=0, atol=tolerance)
        assert mine.labels.tolist() == other.labels.tolist()
        assert ours.size(by_name[image_id]) == theirs.size(image_id)
        assert np.array_equal(ours.image(by_name[image_id]), theirs.image(image_id))


def test_coco_gives_the_same_objects(shapes: Path, coco: Path) -> None:
    for split in ("trainval", "test"):
        assert_same(CocoDataset(coco, split), voc(shapes, split))
    assert CocoDataset(coco, "test").category_ids == tuple(range(7, 77, 10))


def test_yolo_gives_the_same_objects(shapes: Path, yolo: Path) -> None:
    for split in ("train", "val"):
        assert_same(YoloDataset(yolo, split), voc(shapes, split), 1e-4)


def test_other_layouts_of_coco(shapes: Path, coco: Path) -> None:
    annotations = coco / "annotations/instances_test.json"
    for place in ("test/_annotations.coco.json", "test.json", "annotations/test.json"):
        annotations.rename(coco / place)
        annotations = coco / place
        assert_same(CocoDataset(coco, "test"), voc(shapes, "test"))
    (coco / "images").mkdir()
    (coco / "test").rename(coco / "images/test")
    assert_same(CocoDataset(coco, "test"), voc(shapes, "test"))
    (coco / "images/test").rename(coco / "elsewhere")
    with pytest.raises(DataError, match=r"none of its images, such as test_00000\.jpg, is in"):
        CocoDataset(coco, "test")
    assert_same(CocoDataset(coco, "annotations/test.json", images="elsewhere"), voc(shapes, "test"))


def test_other_layouts_of_yolo(shapes: Path, yolo: Path) -> None:
    (yolo / "data.yaml").unlink()
    (yolo / "classes.txt").write_text("\n".join(SHAPES_CLASSES) + "\n")
    assert_same(YoloDataset(yolo, "val"), voc(shapes, "val"), 1e-4)
    side_by_side = yolo.parent / "flat"
    shutil.copytree(yolo / "images/val", side_by_side)
    shutil.copytree(yolo / "labels/val", side_by_side, dirs_exist_ok=True)
    shutil.copy(yolo / "classes.txt", side_by_side)
    assert_same(YoloDataset(side_by_side, "all"), voc(shapes, "val"), 1e-4)
    names = dict(enumerate(SHAPES_CLASSES))
    exported = yolo / "data.yaml"  # as Roboflow writes it, and names as a table
    listing = yolo / "some.txt"
    listing.write_text("".join(f"images/val/{path.name}\n" for path in sorted((yolo / "images/val").glob("*.jpg"))))
    exported.write_text(f"train: ../images/train\nval: some.txt\nnc: 7\nnames: {json.dumps(names)}".replace('"', ""))
    assert_same(YoloDataset(yolo, "train"), voc(shapes, "train"), 1e-4)
    assert_same(YoloDataset(exported, "val"), voc(shapes, "val"), 1e-4)


def test_an_outline_becomes_the_box_around_it(yolo: Path) -> None:
    dataset = YoloDataset(yolo, "val")
    dataset.annotation_path(dataset.ids[0]).write_text("3 0.25 0.5 0.5 0.25 0.5 0.75\n")
    height, width = dataset.size(dataset.ids[0])
    target = dataset.target(dataset.ids[0])
    assert target.boxes.tolist() == [[width * 0.25, height * 0.25, width * 0.5, height * 0.75]]
    assert target.labels.tolist() == [3]


def test_an_image_without_a_text_file_has_no_object(yolo: Path) -> None:
    dataset = YoloDataset(yolo, "val")
    dataset.annotation_path(dataset.ids[0]).unlink()
    assert len(dataset.target(dataset.ids[0])) == 0


def test_some_classes_only(coco: Path, yolo: Path, shapes: Path) -> None:
    for dataset in (CocoDataset(coco, "trainval", ["star", "disc"]), YoloDataset(yolo, "train", ["star", "disc"])):
        for image_id in dataset.ids:
            whole = voc(shapes, "trainval").target(dataset.image_path(image_id).stem)
            kept = [{2: 0, 0: 1}[label] for label in whole.labels.tolist() if label in (0, 2)]
            assert dataset.target(image_id).labels.tolist() == kept
    with pytest.raises(DataError, match="has no category 'cat'; it has disc, ring"):
        CocoDataset(coco, "test", ["cat"])
    with pytest.raises(DataError, match="has no class 'cat'; it has disc, ring"):
        YoloDataset(yolo, "val", ["cat"])


def test_crowds_and_areas(shapes: Path, tmp_path: Path) -> None:
    own = voc(shapes, "trainval")
    image_id = next(i for i in own.ids if len(own.target(i)) >= 2)
    write_coco(own, tmp_path, "trainval", crowds={(image_id, 1)})
    dataset = CocoDataset(tmp_path, "trainval")
    target = dataset.target(f"{image_id}.jpg")
    assert target.difficult.tolist() == [place == 1 for place in range(len(target))]
    crowd = crowds(dataset, f"{image_id}.jpg")
    assert crowd.tolist() == [target.boxes[1].tolist()]
    areas = object_areas(dataset, f"{image_id}.jpg")
    lengths = target.boxes[:, 2:] - target.boxes[:, :2]
    assert areas == pytest.approx(0.7 * lengths.prod(axis=1))
    assert len(crowds(own, image_id)) == 0
    assert object_areas(own, image_id) is None
    x1, y1, x2, y2 = crowd[0]
    inside, half_out = [x1, y1, x2, y2], [x1, y1, x2 + 1.2 * (x2 - x1), y2]
    proposals = Proposals(np.array([inside, half_out], np.float32))
    assert without_crowds(proposals, crowd).boxes.tolist() == [half_out]
    assert len(without_crowds(proposals, crowd[:0])) == 2


def test_recognised_by_looking(shapes: Path, coco: Path, yolo: Path, tmp_path: Path) -> None:
    for root, form, train, test, said in (
        (shapes, "shapes", "trainval", "test", "generated shapes"),
        (coco, "coco", "trainval", "test", "COCO's form in"),
        (coco / "annotations/instances_test.json", "coco", None, None, "1 split"),
        (yolo, "yolo", "train", "val", "YOLO's form, names in"),
        (yolo / "data.yaml", "yolo", "train", "val", "2 splits (train, val), 7 classes (disc, ring"),
    ):
        found = recognise(root)
        assert found.format == form
        assert said in found.said[0]
        assert found.class_names == SHAPES_CLASSES
        if train:
            assert (found.train, found.test) == (train, test)
            assert len(found.dataset(found.train)) > 0
    own = tmp_path / "own"
    shutil.copytree(shapes / "VOC2007", own)
    found = recognise(own)
    assert (found.format, found.classes) == ("voc", tuple(sorted(SHAPES_CLASSES)))
    shutil.rmtree(own / "ImageSets")  # as a labelling program leaves it
    found = recognise(own)
    assert found.splits == ("all",)
    assert (found.train, found.test) == ("all:learn", "all:held")
    (own / "JPEGImages").rename(own / "images")
    assert len(recognise(own).dataset("all")) == 10
    for path in (*own.glob("images/*"), *own.glob("Annotations/*")):
        path.rename(own / path.name)
    shutil.rmtree(own / "images")
    shutil.rmtree(own / "Annotations")
    assert len(recognise(own).dataset("all")) == 10
    single = recognise(coco / "annotations/instances_test.json")
    assert len(single.dataset(single.train)) + len(single.dataset(single.test)) == 3


def test_what_it_found_is_a_configuration(coco: Path) -> None:
    data = recognise(coco, classes=["disc", "star"]).data_config()
    expected = DataConfig(format="coco", root=str(coco), train="trainval", test="test", classes=["disc", "star"])
    assert data == expected
    assert open_dataset(data, data.test).class_names == ("disc", "star")


def test_not_recognised_says_why_form_by_form(tmp_path: Path, coco: Path) -> None:
    with pytest.raises(DataError, match="no data set of a form") as told:
        recognise(tmp_path / "coco" / "test")
    for words in ("voc:", "holds neither VOC2007", "yolo:", "has neither data.yaml nor classes.txt", "coco:"):
        assert words in str(told.value)
    with pytest.raises(DataError, match="there is no such folder"):
        recognise(tmp_path / "none")
    with pytest.raises(ConfigError, match="kitti is not a form"):
        recognise(coco, "kitti")
    with pytest.raises(DataError, match=r"has neither data\.yaml"):
        recognise(coco, "yolo")
    (coco / "classes.txt").write_text("disc\n")
    assert recognise(coco).format in ("yolo", "coco")
    assert "it could be taken for coco, too" in recognise(coco).said[-1]


def test_a_fifth_is_held_out(shapes: Path) -> None:
    data = DataConfig(format="voc", root=str(shapes), classes=list(SHAPES_CLASSES))
    learn, held = (open_dataset(data, f"trainval:{part}") for part in ("learn", "held"))
    assert (len(learn), len(held)) == (6, 1)
    assert sorted(learn.ids + held.ids) == sorted(open_dataset(data, "trainval").ids)
    assert open_dataset(data, "trainval:held").ids == held.ids
    with pytest.raises(ConfigError, match="a part is learn or held, not 'half'"):
        split_and_part("trainval:half")
    (shapes / "VOC2007/ImageSets/Main/one.txt").write_text("train_00000\n")
    with pytest.raises(ConfigError, match="one image has nothing to hold out"):
        open_dataset(data, "one:learn")
    (shapes / "VOC2007/ImageSets/Main/one.txt").unlink()


def test_a_check_of_every_form(coco: Path, yolo: Path, shapes: Path) -> None:
    for root in (coco, yolo, shapes):
        reports = check_dataset(root)
        assert len(reports) == 2
        assert not any(report.faults for report in reports)
        assert sum(int(report.objects.sum()) for report in reports) > 10
    dataset = YoloDataset(yolo, "val")
    size = dataset.size(dataset.ids[0])
    PillowImage.new("RGB", size[::-1]).save(dataset.image_path(dataset.ids[0]).with_suffix(".gif"))
    (report,) = check_dataset(yolo, splits=["val"])
    assert ["unknown extension" in str(fault) for fault in report.faults] == [True]
