"""Every form that training takes with every fault that it may have: named, counted, skipped, and no good image lost.

One small data set, of four images a to d with a nut in each, is written in each form; b is what is wrong.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage
from torchvision.datasets import CocoDetection, VOCDetection

from spp_det.datasets import CocoDataset, Dataset, VOCDataset, YoloDataset
from spp_det.datasets.check import check_split
from spp_det.datasets.memory import as_dataset
from spp_det.errors import DataError
from spp_det.pipeline.split import open_split
from spp_det.pipeline.store import Store

WIDTH, HEIGHT = 80, 60
CLASSES = ["nut", "bolt"]
GOOD = (10.0, 20.0, 40.0, 50.0)  # (x1, y1, x2, y2), from 0


def jpeg() -> bytes:
    content = io.BytesIO()
    PillowImage.new("RGB", (WIDTH, HEIGHT), (90, 120, 150)).save(content, "JPEG")
    return content.getvalue()


@dataclass(frozen=True)
class Entry:
    """One image of the data set. content: None for a file that is missing; label: an index into CLASSES, or beyond."""

    name: str
    box: tuple[float, float, float, float] = GOOD
    label: int = 0
    ending: str = ".jpg"
    folder: str = ""  # below the images' own
    content: bytes | None = field(default_factory=jpeg)

    def write(self, folder: Path) -> Path:
        path = folder / self.folder / (self.name + self.ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.content is not None:
            path.write_bytes(self.content)
        return path


Entries = list[Entry]


def as_voc_folder(entries: Entries, root: Path) -> Path:
    folder = root / "VOCdevkit" / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for one in entries:
        one.write(folder / "JPEGImages")
        x1, y1, x2, y2 = one.box
        corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
        box = "".join(f"<{name}>{value}</{name}>" for name, value in corners.items())
        name = [*CLASSES, "washer"][one.label]
        text = f"<annotation><object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>"
        (folder / "Annotations" / f"{one.name}.xml").write_text(text)
    (folder / "ImageSets/Main/train.txt").write_text(
        "".join(f"{one.name}\n" for one in entries if one.ending != ".png")  # the list has names without endings
    )
    return root


def voc(entries: Entries, root: Path) -> Dataset:
    return VOCDataset(as_voc_folder(entries, root) / "VOCdevkit", "2007", "train", CLASSES)


def torchvision_voc(entries: Entries, root: Path) -> Dataset:
    return as_dataset(VOCDetection(str(as_voc_folder(entries, root)), "2007", "train"), CLASSES)


def as_coco_file(entries: Entries, root: Path) -> Path:
    images, annotations = [], []
    for number, one in enumerate(entries):
        one.write(root / "train")
        name = f"{one.folder}/{one.name}{one.ending}".lstrip("/")
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        x1, y1, x2, y2 = one.box
        about = {"id": number, "image_id": number, "category_id": one.label}
        annotations.append({**about, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0, "area": 1})
    categories = [{"id": label, "name": name} for label, name in enumerate(CLASSES)]
    path = root / "train.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def coco(entries: Entries, root: Path) -> Dataset:
    as_coco_file(entries, root)
    return CocoDataset(root, "train")


def torchvision_coco(entries: Entries, root: Path) -> Dataset:
    return as_dataset(CocoDetection(str(root / "train"), str(as_coco_file(entries, root))))


def yolo(entries: Entries, root: Path) -> Dataset:
    paths = []
    for one in entries:
        paths.append(one.write(root / "images"))
        x1, y1, x2, y2 = one.box
        numbers = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
        label = root / "labels" / one.folder / f"{one.name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(" ".join(map(str, (one.label, *numbers))))
    (root / "train.txt").write_text("".join(f"{path.relative_to(root)}\n" for path in paths))
    (root / "data.yaml").write_text(json.dumps({"names": CLASSES, "train": "train.txt"}))
    return YoloDataset(root, "train")


def pairs(entries: Entries, root: Path) -> Dataset:
    return as_dataset([(one.write(root), {"boxes": [one.box], "labels": [one.label]}) for one in entries], CLASSES)


FORMS: dict[str, Callable[[Entries, Path], Dataset]] = {
    "voc": voc,
    "coco": coco,
    "yolo": yolo,
    "torchvision voc": torchvision_voc,
    "torchvision coco": torchvision_coco,
    "pairs": pairs,
}


def entries(**changes: Any) -> Entries:
    """a, b, c, d, of which b is changed."""
    return [replace(Entry(name), **(changes if name == "b" else {})) for name in "abcd"]


@dataclass(frozen=True)
class Fault:
    """What is wrong, and what is said of it. left: the good images; told: faults, if not one for each bad image."""

    entries: Entries
    words: str
    left: str = "acd"
    told: int = 1
    but: dict[str, Any] = field(default_factory=dict)  # by form: what it says otherwise, or None where it cannot be


TWICE = [*entries(), Entry("b")]
FAULTS = {
    "broken image": Fault(entries(content=b"no image"), "b.jpg: is not an image"),
    "image cut short": Fault(entries(content=jpeg()[:-40]), "b.jpg: is a broken image"),
    "no image": Fault(entries(content=None), "b.jpg: there is no such image"),
    "box without area": Fault(entries(box=(10, 20, 10, 50)), "is empty or has its corners swapped"),
    "corners swapped": Fault(entries(box=(40, 50, 10, 20)), "is empty or has its corners swapped"),
    "box outside": Fault(entries(box=(50, 20, 95, 50)), "lies outside its image"),
    "not a number": Fault(
        entries(box=(float("nan"), 20, 40, 50)),
        "not finite",
        but={"voc": "not a number", "torchvision voc": "not a number"},
    ),
    "unknown class": Fault(entries(label=2), "unknown class", but={
        "coco": "is of the category 2, which is not there",
        "torchvision coco": "is of the category 2, which is not there",
        "pairs": "has the label 2 where there are 2",
    }),
    "unknown extension": Fault(
        entries(ending=".xyz"), "unknown extension", but={"torchvision voc": "b.jpg: there is no such image"}
    ),
    # The same image twice: a list of ids or paths loses nothing by it, tables do not say which entry is right.
    "twice": Fault(TWICE, "twice", left="abcd", but={
        "coco": ("two images of one name", "acd"),
        "torchvision coco": ("two images of one name", "acd"),
        "pairs": ("of another one", "acd"),
    }),
    "two of one name": Fault([*entries(), Entry("b", ending=".png")], "one of two images of one name", but={
        "voc": ("b.jpg: is one of two images of one name, with b.png", "acd"),
        "torchvision voc": None,  # it knows .jpg alone
        "coco": None,  # its names have endings, its ids are numbers: both are good
        "torchvision coco": None,
        "pairs": None,  # likewise
    }),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_counted_and_skipped(form: str, name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    expected = fault.but.get(form, fault.words)
    if expected is None:
        dataset = FORMS[form](fault.entries, tmp_path)
        assert check_split(dataset, "train").faults == []
        return
    words, left = expected if isinstance(expected, tuple) else (expected, fault.left)
    dataset = FORMS[form](fault.entries, tmp_path)
    faults = [str(each) for each in check_split(dataset, "train").faults]
    assert faults
    assert all(words in each for each in faults), faults
    with pytest.raises(DataError, match=r"\bb\b"):
        open_split(Store(tmp_path / "store"), dataset)
    split = open_split(Store(tmp_path / "store"), dataset, skip_bad=True)
    assert names(form, split.ids) == list(left)
    assert len(faults) == len(split.skipped)
    for image_id in split.ids:
        assert split.targets[image_id].boxes.tolist() == [list(GOOD)]
        assert split.targets[image_id].labels.tolist() == [0]
        assert dataset.image(image_id).shape == (HEIGHT, WIDTH, 3)


def names(form: str, ids: tuple[str, ...]) -> list[str]:
    """The images' names; a list of pairs knows their numbers only."""
    return ["abcd"[int(image_id)] if form == "pairs" else Path(image_id).stem for image_id in ids]


@pytest.mark.parametrize("form", FORMS)
def test_a_class_without_boxes_is_named(form: str, tmp_path: Path) -> None:
    dataset = FORMS[form](entries(), tmp_path)
    report = check_split(dataset, "train")
    assert (report.faults, report.empty_classes, report.total) == ([], ["bolt"], 4)
    assert report.objects.tolist() == [4, 0]
    assert open_split(Store(tmp_path / "store"), dataset).classes_without_objects() == ["bolt"]


BROKEN_FILES = {
    "voc": ("VOCdevkit/VOC2007/Annotations/b.xml", "is not well-formed XML"),
    "torchvision voc": ("VOCdevkit/VOC2007/Annotations/b.xml", "is not well-formed XML"),
    "yolo": ("labels/b.txt", "is not a class number and coordinates"),
}


@pytest.mark.parametrize("form", BROKEN_FILES)
def test_a_broken_annotation_costs_its_image_alone(form: str, tmp_path: Path) -> None:
    path, words = BROKEN_FILES[form]
    dataset = FORMS[form](entries(), tmp_path)
    (tmp_path / path).write_text("<annotation><object>")
    (fault,) = check_split(dataset, "train").faults
    assert str(fault).startswith(f"{tmp_path / path}: ")
    assert words in str(fault)
    assert names(form, open_split(Store(tmp_path / "store"), dataset, skip_bad=True).ids) == ["a", "c", "d"]


def test_a_coco_file_whose_first_images_are_gone(tmp_path: Path) -> None:
    gone = [Entry(f"gone{number}", content=None) for number in range(30)]
    dataset = coco([*gone, *entries()], tmp_path)
    assert names("coco", open_split(Store(tmp_path / "store"), dataset, skip_bad=True).ids) == list("abcd")


def test_texts_without_an_image(tmp_path: Path) -> None:
    yolo(entries(), tmp_path)
    (tmp_path / "data.yaml").write_text(json.dumps({"names": CLASSES, "train": "images"}))
    (tmp_path / "labels" / "classes.txt").write_text("nut\n")
    (tmp_path / "labels" / "lost.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (fault,) = check_split(YoloDataset(tmp_path, "train"), "train").faults
    assert str(fault) == f"{tmp_path / 'labels/lost.txt'}: belongs to no image"
