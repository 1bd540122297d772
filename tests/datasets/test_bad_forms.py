"""What is wrong with a data set is named, counted, and by setting skipped; nothing of a good file is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from spp_det.datasets import CocoDataset, Dataset, VOCDataset, YoloDataset, recognise
from spp_det.datasets.check import check_split, odd_boxes
from spp_det.datasets.coco_table import parse_table
from spp_det.datasets.objects import fit_box, make_target
from spp_det.errors import DataError
from spp_det.pipeline.split import open_split
from spp_det.pipeline.store import Store

SIZE = (60, 80)  # (height, width)
GOOD = [10.0, 10.0, 30.0, 20.0]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.new("RGB", SIZE[::-1], (90, 120, 150)).save(path)


def told(dataset: Dataset) -> list[str]:
    return [str(fault) for fault in check_split(dataset, "all").faults]


def skipped(dataset: Dataset, store: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """What training goes on with, and what it leaves out; without the setting it stops at the first fault."""
    with pytest.raises(DataError):
        open_split(Store(store), dataset)
    split = open_split(Store(store), dataset, skip_bad=True)
    return split.ids, split.skipped


# --- COCO


def a_coco(root: Path) -> dict[str, Any]:
    """Four good images of nuts and bolts, not written yet."""
    images = []
    for number, name in enumerate("abcd"):
        picture(root / "train" / f"{name}.jpg")
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
    annotations = [{"id": n, "image_id": n, "category_id": 1, "bbox": list(GOOD)} for n in range(4)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "nut"}, {"id": 2, "name": "bolt"}],
    }


def read_coco(root: Path, content: Any) -> CocoDataset:
    (root / "train.json").write_text(json.dumps(content))
    return CocoDataset(root, "train")


def image_number(number: int, **changes: Any):
    return lambda content: content["images"][number].update(changes)


def object_number(number: int, **changes: Any):
    return lambda content: content["annotations"][number].update(changes)


def again(which: str, number: int, **changes: Any):
    return lambda content: content[which].append({**content[which][number], **changes})


def both_zero(content: dict[str, Any]) -> None:
    content["images"][1]["id"] = content["annotations"][1]["image_id"] = 0


COCO_FAULTS = {
    "zero area": (object_number(0, bbox=[10, 10, 0, 5]), ["a.jpg"], "annotation 0 its box [10, 10, 0, 5] is empty"),
    "swapped corners": (object_number(1, bbox=[30, 30, -20, -20]), ["b.jpg"], "is empty or has its corners swapped"),
    "outside": (object_number(1, bbox=[70, 10, 30, 5]), ["b.jpg"], "lies outside its image of 80 x 60 px"),
    "not a number": (object_number(1, bbox=[1, 2, float("nan"), 4]), ["b.jpg"], "not finite"),
    "no numbers": (object_number(1, bbox=["1", 2, 3, 4]), ["b.jpg"], "not four numbers"),
    "no bbox": (object_number(1, bbox=None), ["b.jpg"], "has the bbox None"),
    "unknown category": (object_number(2, category_id=9), ["c.jpg"], "is of the category 9, which is not there"),
    "two objects of one id": (object_number(2, id=3), ["c.jpg", "d.jpg"], "the id 3 of one of its annotations"),
    "two images of one id": (both_zero, ["a.jpg", "b.jpg"], "its id 0 is another image's"),
    "two images of one name": (image_number(1, file_name="a.jpg"), ["a.jpg"], "two images of one name"),
    "unknown extension": (image_number(2, file_name="c.xyz"), ["c.xyz"], "has an unknown extension"),
    "out of the folder": (image_number(2, file_name="../c.jpg"), ["../c.jpg"], "leads out of the images' folder"),
    "no such image": (image_number(2, file_name="e.jpg"), ["e.jpg"], "e.jpg: there is no such image"),
    "object of no image": (object_number(3, image_id=77), ["annotation 3 of the annotations"], "the image 77"),
    "object that is none": (lambda c: c["annotations"].append("x"), ["entry 4 of the annotations"], "is not there"),
    "image without a name": (again("images", 0, file_name=None), ["entry 4 of the images"], "no id or no file_name"),
}  # fmt: skip


@pytest.mark.parametrize("name", COCO_FAULTS)
def test_coco_faults_are_named_counted_and_skipped(name: str, tmp_path: Path) -> None:
    break_it, left_out, words = COCO_FAULTS[name]
    content = a_coco(tmp_path)
    break_it(content)
    dataset = read_coco(tmp_path, content)
    faults = told(dataset)
    assert len(faults) == len(left_out), faults
    assert all(words in fault for fault in faults)
    ids, skip = skipped(dataset, tmp_path / "store")
    assert sorted(skip) == sorted(left_out)
    names = {image.get("file_name") for image in content["images"]} - {None}
    assert set(ids) == names - set(left_out)
    assert all(len(dataset.target(image_id)) for image_id in ids if name not in ("object of no image",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(categories=[]), "has no category"),
        (again("categories", 0, name="washer"), "two categories of the id 1"),
        (again("categories", 0, id=3), "two categories of the name nut"),
        (lambda c: c["categories"].append({"id": "x", "name": "y"}), "a category without an id and a name"),
        (lambda c: c.pop("annotations"), 'has no list "annotations"'),
        (lambda c: c.update(images="none"), 'has no list "images"'),
        (lambda c: c.update(images=[]), "names no image"),
    ],
)
def test_coco_files_that_cannot_be_used(change, words: str, tmp_path: Path) -> None:
    content = a_coco(tmp_path)
    change(content)
    with pytest.raises(DataError, match=words) as fault:
        read_coco(tmp_path, content)
    assert fault.value.path == str(tmp_path / "train.json")
    with pytest.raises(DataError, match=words):
        recognise(tmp_path, "coco")


def test_coco_files_that_are_none(tmp_path: Path) -> None:
    for text, words in (("{", "is not JSON"), ("[1]", "is not a COCO file"), ("\xff", "is not JSON")):
        (tmp_path / "train.json").write_text(text, encoding="latin-1")
        with pytest.raises(DataError, match=words):
            CocoDataset(tmp_path, "train")
    with pytest.raises(DataError, match="no annotations of the split val; there are: train"):
        CocoDataset(tmp_path, "val")
    with pytest.raises(DataError, match="there is no such folder"):
        CocoDataset(tmp_path / "none", "val")


def test_a_broken_image_and_one_of_another_size(tmp_path: Path) -> None:
    content = a_coco(tmp_path)
    content["images"][0]["width"] = 81
    dataset = read_coco(tmp_path, content)
    path = dataset.image_path("b.jpg")
    path.write_bytes(path.read_bytes()[:-30])
    faults = told(dataset)
    assert len(faults) == 2
    assert "a.jpg: states 81 x 60 pixels, but its image has 80 x 60" in faults[0]
    assert "b.jpg: is a broken image" in faults[1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "image_id", "category_id", "bbox", "file_name", "name", "images"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(st.fixed_dictionaries(dict.fromkeys(("images", "annotations", "categories"), json_values)))
def test_any_json_gives_a_table_or_a_data_error(content: dict[str, Any]) -> None:
    content["categories"] = content["categories"] or [{"id": 1, "name": "x"}]
    try:
        dataset = CocoDataset.from_content(content, "nowhere")
    except DataError:
        return
    for image_id in dataset.ids:
        try:
            dataset.target(image_id)
        except DataError:
            continue
    assert len(parse_table(content, Path("x")).images) == len(dataset)


# --- YOLO


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Three good images of nuts and bolts."""
    root = tmp_path / "yolo"
    (root / "labels").mkdir(parents=True)
    for name in "abc":
        picture(root / "images" / f"{name}.jpg")
        (root / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (root / "classes.txt").write_text("nut\nbolt\n")
    return root


YOLO_LINES = {
    "1 0.5 0.5 0 0.2": "is empty or has its corners swapped",
    "1 0.5 0.5 0.2 -0.2": "is empty or has its corners swapped",
    "2 0.5 0.5 0.2 0.2": "is of the unknown class 2; there are 0 to 1",
    "-1 0.5 0.5 0.2 0.2": "is of the unknown class -1",
    "nut 0.5 0.5 0.2 0.2": "is not a class number and coordinates",
    "1 0.5 0.5 0.2": "has 3 numbers behind the class",
    "1 0.5 0.5 0.2 0.2 0.9": "has 5 numbers behind the class",
    "1 40 30 20 10": "is in pixels, it seems",
    "1 0.9 0.5 0.4 0.2": "lies outside its image",
    "1 nan 0.5 0.4 0.2": "not finite",
}


@pytest.mark.parametrize("line", YOLO_LINES)
def test_yolo_lines_are_named_counted_and_skipped(line: str, yolo: Path, tmp_path: Path) -> None:
    (yolo / "labels/b.txt").write_text(f"0 0.5 0.5 0.25 0.5\n{line}\n")
    dataset = YoloDataset(yolo, "all")
    (fault,) = told(dataset)
    assert fault.startswith(f"{yolo / 'labels/b.txt'}: line 2: '{line}'")
    assert YOLO_LINES[line] in fault
    ids, skip = skipped(dataset, tmp_path / "store")
    assert [Path(image_id).stem for image_id in ids] == ["a", "c"]
    assert len(skip) == 1


def test_yolo_files_among_the_images(yolo: Path, tmp_path: Path) -> None:
    picture(yolo / "images/a.png")
    (yolo / "images/notes.gif").write_bytes(b"x")
    (yolo / "images/.hidden.gif").write_bytes(b"x")
    (yolo / "labels/c.txt").write_bytes(b"\xff\xfe\x00")
    dataset = YoloDataset(yolo, "all")
    assert len(dataset) == 4
    faults = told(dataset)
    assert len(faults) == 4
    for words in ("notes.gif: has an unknown extension", "c.txt: cannot be read", "a.jpg: is one of two images of one"):
        assert sum(words in fault for fault in faults) == 1
    ids, skip = skipped(dataset, tmp_path / "store")
    assert ids == ("images/b.jpg",)
    assert len(skip) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: [", "is not YAML"),
        ("train: images", "has no names of classes"),
        ("names: []\ntrain: images", "has no names of classes"),
        ("names: [nut, nut]\ntrain: images", "has a name twice"),
        ("names: {1: nut}\ntrain: images", "numbers its names otherwise"),
        ("names: [nut]\nnc: 2\ntrain: images", "nc = 2 and 1 names"),
        ("names: [nut]\ntrain: pictures", "pictures: is not there"),
        ("names: [nut]\ntrain: 3", "has the entry 3"),
        ("names: [nut]", "has no split train"),
        ("names: [nut]\ntrain: labels", "has no image in"),
        ("names: [nut]\ntrain: list.txt", "names images/x.gif, an unknown extension"),
    ],
)
def test_broken_data_yaml(yolo: Path, text: str, words: str) -> None:
    (yolo / "list.txt").write_text("images/x.gif\nimages/a.jpg\nimages/a.jpg\n")
    (yolo / "data.yaml").write_text(text)
    try:
        faults = told(YoloDataset(yolo, "train"))
        assert len(faults) == 2
        assert "names images/a.jpg twice" in faults[1]
    except DataError as fault:
        faults = [str(fault)]
    assert words in faults[0]


@settings(deadline=None, max_examples=80)
@given(st.text(st.characters(codec="utf-8", categories=["N", "P", "Z", "Cc"]), max_size=60))
def test_any_text_gives_objects_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("yolo")
    picture(root / "a.png")
    (root / "classes.txt").write_text("nut\n")
    (root / "a.txt").write_text(text, encoding="utf-8")
    dataset = YoloDataset(root, "all")
    faults = check_split(dataset, "all").faults
    assert all(fault.path == str(root / "a.txt") for fault in faults)
    assert len(faults) == 1 or (dataset.target("a.png").labels == 0).all()


# --- VOC


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "voc"
    for name in ("Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for name in "abc":
        picture(root / "JPEGImages" / f"{name}.jpg")
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        (root / f"Annotations/{name}.xml").write_text(
            f"<annotation><object><name>nut</name>{box}</object></annotation>"
        )
    (root / "ImageSets/Main/all.txt").write_text("a\nb\nc\n")
    return root


def test_voc_faults_are_named_counted_and_skipped(voc: Path, tmp_path: Path) -> None:
    (voc / "ImageSets/Main/all.txt").write_text("a\nb\nb\nc\nd\n")
    picture(voc / "JPEGImages/a.png")  # beside a.jpg
    (voc / "JPEGImages/d.gif").write_bytes(b"x")
    (voc / "Annotations/d.xml").write_text("<annotation></annotation>")
    dataset = VOCDataset(voc, split="all", classes=["nut", "bolt"])
    report = check_split(dataset, "all")
    faults = [str(fault) for fault in report.faults]
    assert len(faults) == 3
    assert "all.txt: names the image b twice" in faults[0]
    assert "a.jpg: is one of two images of one name, with a.png" in faults[1]
    assert "d.gif: has an unknown extension; known are .jpg" in faults[2]
    assert report.empty_classes == ["bolt"]
    assert report.total == 4
    with pytest.raises(DataError, match="names the image b twice"):
        open_split(Store(tmp_path / "store"), dataset)
    split = open_split(Store(tmp_path / "store"), dataset, skip_bad=True)
    assert split.ids == ("b", "c")
    assert set(split.skipped) == {"a", "b", "d"}


# --- boxes


@settings(deadline=None, max_examples=150)
@given(st.lists(st.floats(-3, 90) | st.sampled_from([float("nan"), float("inf")]), min_size=4, max_size=4))
def test_a_box_fits_or_says_why_not(corners: list[float]) -> None:
    try:
        box = fit_box(corners, SIZE)
    except ValueError:
        return
    assert 0 <= box[0] < box[2] <= SIZE[1]
    assert 0 <= box[1] < box[3] <= SIZE[0]
    assert max(abs(box - corners)) <= 1 + 1e-4


def test_a_box_may_reach_out_by_a_pixel() -> None:
    assert fit_box([-0.5, 0, 80.9, 60], SIZE).tolist() == [0, 0, 80, 60]
    with pytest.raises(ValueError, match="empty once it is cut"):
        fit_box([80.2, 0, 80.8, 10], SIZE)


def test_odd_boxes_are_told() -> None:
    boxes = [fit_box(each, (100, 200)) for each in ([0, 0, 200, 100], [5, 5, 7, 50], [0, 50, 190, 60], [50, 50, 90, 90],
                                                    [50, 50, 90, 90], [50, 50, 90, 89.5])]  # fmt: skip
    target = make_target(boxes, [0, 0, 1, 1, 1, 0], [False] * 6)
    assert odd_boxes(target, ("nut", "bolt"), (100, 200)) == [
        "nut of 200 x 100 px is the whole image",
        "nut of 2 x 45 px is very small",
        "bolt of 190 x 10 px is very narrow",
        "bolt is there twice",
        "bolt and nut are one box",
        "bolt and nut are one box",
    ]
