from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from spp_det.datasets import VOC_CLASSES, VOCDataset, annotation_paths, image_files, image_paths, write_results
from spp_det.datasets.voc_annotations import annotation_xml, read_annotation, read_stated_size
from spp_det.datasets.voc_layout import voc_folders
from spp_det.errors import DataError
from spp_det.structures import Detections, Target

SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"
CAR = (
    "<object><name>car</name><difficult>0</difficult>"
    "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object>"
)


def make_voc(folder: Path, xmls: dict[str, str], split: str = "trainval", size: tuple[int, int] = (30, 40)) -> Path:
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for image_id, xml in xmls.items():
        (folder / "Annotations" / f"{image_id}.xml").write_text(xml)
        PillowImage.new("RGB", size[::-1], (10, 20, 30)).save(folder / "JPEGImages" / f"{image_id}.jpg")
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{i}\n" for i in xmls))
    return folder


def annotation(inside: str) -> str:
    return f"<annotation>{inside}</annotation>"


def read(tmp_path: Path, xml: str | bytes, classes: tuple[str, ...] = VOC_CLASSES) -> Target:
    path = tmp_path / "000001.xml"
    path.write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    return read_annotation(path, classes, lambda: (30, 40))


# --- the devkit's layout


class Elsewhere(VOCDataset):
    """Finds images in a way of its own, and says nothing of all at once."""

    def image_path(self, image_id: str) -> Path:
        return Path("elsewhere") / image_id


def test_all_paths_at_once_are_those_that_one_by_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_voc(tmp_path, {f"{number}": annotation(SIZE) for number in range(6)})
    images = root / "JPEGImages"
    (images / "1.jpg").rename(images / "1.PNG")
    (images / "2.jpg").unlink()
    (images / "3.jpg").rename(images / "3.gif")
    (images / "4.bmp").write_bytes(b"")
    one_by_one: list[str | None] = [str(images / name) if name else None for name in ("0.jpg", "1.PNG")]
    one_by_one += [None, None, None, str(images / "5.jpg")]
    for settled in (0, 2_000_000_000):  # ns: with a list of the folder, and without
        monkeypatch.setattr(image_files, "SETTLED", settled)
        dataset = VOCDataset(root)
        assert [path and str(path) for path in image_paths(dataset)] == one_by_one
        paths = annotation_paths(dataset)
        assert paths is not None
        assert [Path(str(path)) for path in paths] == [dataset.annotation_path(image_id) for image_id in dataset.ids]
        assert image_paths(Elsewhere(root)) == [Path("elsewhere") / image_id for image_id in dataset.ids]


def test_voc_classes_in_the_devkits_order() -> None:
    assert len(VOC_CLASSES) == 20
    assert (VOC_CLASSES[0], VOC_CLASSES[6], VOC_CLASSES[14], VOC_CLASSES[19]) == (
        "aeroplane",
        "car",
        "person",
        "tvmonitor",
    )
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


@pytest.mark.parametrize("inside", ["VOC2007", "."])
def test_devkit_folder_or_the_data_folder_itself(tmp_path: Path, inside: str) -> None:
    make_voc(tmp_path / inside, {"000002": annotation(SIZE + CAR), "000001": annotation(SIZE)})
    dataset = VOCDataset(tmp_path)
    assert dataset.class_names == VOC_CLASSES
    assert dataset.ids == ("000002", "000001")  # the file's order
    assert len(dataset) == 2
    assert dataset.image_path("000002") == tmp_path / inside / "JPEGImages" / "000002.jpg"
    assert dataset.image("000002").shape == (30, 40, 3)
    assert dataset.size("000002") == (30, 40)
    target = dataset.target("000002")
    assert target.boxes.tolist() == [[0, 1, 40, 30]]
    assert target.labels.tolist() == [6]
    assert target.difficult.tolist() == [False]
    assert len(dataset.target("000001")) == 0


def test_year_as_a_number_and_own_classes(tmp_path: Path) -> None:
    make_voc(tmp_path / "VOC2012", {"2008_000001": annotation(SIZE + CAR)}, "val")
    dataset = VOCDataset(str(tmp_path), 2012, "val", ["bicycle", "car"])  # type: ignore[arg-type]
    assert dataset.class_names == ("bicycle", "car")
    assert dataset.target("2008_000001").labels.tolist() == [1]


def test_split_of_one_class_names_all_its_images(tmp_path: Path) -> None:
    make_voc(tmp_path, {"a": annotation(SIZE), "b": annotation(SIZE)})
    (tmp_path / "ImageSets/Main/car_trainval.txt").write_text("a -1\nb  1\n\n")
    assert VOCDataset(tmp_path, split="car_trainval").ids == ("a", "b")
    assert voc_folders(tmp_path, "2007").splits == ("trainval",)


def test_joined_splits_of_two_years(tmp_path: Path) -> None:
    make_voc(tmp_path / "VOC2007", {"000002": annotation(SIZE + CAR), "000001": annotation(SIZE)})
    make_voc(tmp_path / "VOC2012", {"2008_000001": annotation(SIZE + CAR), "2008_000002": annotation(SIZE)}, "val")
    dataset = VOCDataset(tmp_path, split="trainval + 2012/val")
    assert dataset.ids == ("000002", "000001", "2008_000001", "2008_000002")
    assert dataset.faults == {}
    assert dataset.image_path("2008_000001") == tmp_path / "VOC2012/JPEGImages/2008_000001.jpg"
    assert [len(dataset.target(image_id)) for image_id in dataset.ids] == [1, 0, 1, 0]
    assert VOCDataset(tmp_path, "2012", "2007/trainval").ids == ("000002", "000001")
    with pytest.raises(DataError, match=r"VOC2010: there is no such folder, which the split 2010/val names"):
        VOCDataset(tmp_path, split="trainval+2010/val")
    with pytest.raises(DataError, match=r"VOC2012/ImageSets/Main/test\.txt: there is no such split; there are: val"):
        VOCDataset(tmp_path, split="trainval+2012/test")


def test_an_image_of_two_joined_splits_is_a_fault_and_there_once(tmp_path: Path) -> None:
    make_voc(tmp_path / "VOC2007", {"a": annotation(SIZE), "b": annotation(SIZE)})
    (tmp_path / "VOC2007/ImageSets/Main/val.txt").write_text("b\n")
    dataset = VOCDataset(tmp_path, split="trainval+val")
    assert dataset.ids == ("a", "b")
    assert "the split trainval+val has the image b twice" in str(dataset.faults["b"])


def test_images_of_other_suffixes(tmp_path: Path) -> None:
    make_voc(tmp_path, {"a": annotation(SIZE + CAR)})
    (tmp_path / "JPEGImages/a.jpg").unlink()
    PillowImage.new("RGB", (40, 30)).save(tmp_path / "JPEGImages/a.png")
    assert VOCDataset(tmp_path).image("a").shape == (30, 40, 3)


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: there is no such folder"):
        VOCDataset(tmp_path / "nowhere")
    (tmp_path / "VOC2012").mkdir()
    with pytest.raises(DataError, match=r"holds neither VOC2007 nor Annotations, .*; it holds VOC2012"):
        VOCDataset(tmp_path)
    with pytest.raises(DataError, match=r"VOC2012: lacks the folder Annotations"):
        VOCDataset(tmp_path, "2012")
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match=r"lacks the folder Annotations \(and holds no VOC2007\)"):
        VOCDataset(tmp_path)


def test_bad_splits(tmp_path: Path) -> None:
    make_voc(tmp_path, {"a": annotation(SIZE)})
    with pytest.raises(DataError, match=r"Main/test\.txt: there is no such split; there are: trainval"):
        VOCDataset(tmp_path, split="test")
    split = tmp_path / "ImageSets/Main/trainval.txt"
    split.write_text("a\na\n../a\n")  # what is good in it stays
    dataset = VOCDataset(tmp_path)
    assert dataset.ids == ("a",)
    told = {name: str(fault) for name, fault in dataset.faults.items()}
    assert "trainval.txt: names the image a twice" in told["a"]
    assert "has the id '../a'" in told["../a"]
    for content, fault in ((" \n", "names no image"), ("../a\n", "has the id '../a'")):
        split.write_text(content)
        with pytest.raises(DataError, match=rf"trainval\.txt: .*{fault}"):
            VOCDataset(tmp_path)
    split.write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match=r"trainval\.txt: cannot be read"):
        VOCDataset(tmp_path)


def test_missing_image_and_annotation(tmp_path: Path) -> None:
    make_voc(tmp_path, {"a": annotation(SIZE)})
    dataset = VOCDataset(tmp_path)
    (tmp_path / "Annotations/a.xml").unlink()
    (tmp_path / "JPEGImages/a.jpg").unlink()
    with pytest.raises(DataError, match=r"JPEGImages/a\.jpg: there is no such image"):
        dataset.image("a")
    with pytest.raises(DataError, match=r"JPEGImages/a\.jpg: there is no such image"):
        dataset.size("a")
    with pytest.raises(DataError, match=r"Annotations/a\.xml: there is no such annotation"):
        dataset.target("a")


def test_class_names_must_differ(tmp_path: Path) -> None:
    make_voc(tmp_path, {"a": annotation(SIZE)})
    for classes in ((), ("car", "car")):
        with pytest.raises(ValueError, match="class names"):
            VOCDataset(tmp_path, classes=classes)


# --- one annotation


def test_float_coordinates_parts_and_spaces(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>-9</xmin></bndbox></part>"
    xml = CAR.replace(">1<", "> 1.5 <").replace("</object>", part + "</object>").replace("car", "\n car ")
    target = read(tmp_path, annotation(SIZE + xml))
    assert target.boxes.tolist() == [[0.5, 1, 40, 30]]
    assert target.boxes.dtype == np.float32
    assert target.labels.tolist() == [6]


def test_part_before_the_box_is_not_taken_for_it(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    target = read(tmp_path, annotation(SIZE + CAR.replace("<object>", "<object>" + part)))
    assert target.boxes.tolist() == [[0, 1, 40, 30]]


def test_difficult(tmp_path: Path) -> None:
    absent, one = CAR.replace("<difficult>0</difficult>", ""), CAR.replace("<difficult>0", "<difficult>1")
    assert read(tmp_path, annotation(SIZE + absent + one + CAR)).difficult.tolist() == [False, True, False]


@pytest.mark.parametrize("size", ["", SIZE.replace("40", "0"), SIZE.replace("30", "0").replace("40", "0")])
def test_without_a_stated_size_the_image_counts(tmp_path: Path, size: str) -> None:
    assert read(tmp_path, annotation(size + CAR)).boxes.tolist() == [[0, 1, 40, 30]]
    with pytest.raises(DataError, match="outside its image: x is 1 to 40, y is 1 to 30"):
        read(tmp_path, annotation(size + CAR.replace(">40<", ">41<")))


FAULTS = {
    "": "is not well-formed XML",
    "<annotation><object></annotation>": "is not well-formed XML",
    "<annotation>": "is not well-formed XML",
    "<html></html>": "its root is <html>, not <annotation>",
    '<!DOCTYPE a [<!ENTITY b "c">]>' + annotation(SIZE + CAR): "declares a document type",
    annotation(SIZE + CAR.replace("<name>car</name>", "")): "<object> lacks <name>",
    annotation(SIZE + "<object><name>car</name></object>"): "<object> lacks <bndbox>",
    annotation(SIZE + CAR.replace("<xmax>40</xmax>", "")): "<bndbox> lacks <xmax>",
    annotation(SIZE + CAR.replace(">40<", "><")): "<bndbox> lacks <xmax>",
    annotation(SIZE + CAR.replace(">40<", ">forty<")): "<xmax> in <bndbox> is 'forty', not a number",
    annotation(SIZE + CAR.replace(">40<", ">nan<")): "<xmax> in <bndbox> is 'nan', not a number",
    annotation(SIZE + CAR.replace("<difficult>0", "<difficult>no")): "<difficult> in <object> is 'no', not a number",
    annotation(SIZE.replace(">40<", ">wide<") + CAR): "<width> in <size> is 'wide', not a number",
    annotation(SIZE + CAR.replace("car", "cart")): "unknown class 'cart'; known are aeroplane, bicycle, bird",
    annotation(SIZE + CAR.replace(">40<", ">0<")): "is empty or has its corners swapped",
    annotation(SIZE + CAR.replace(">1<", ">39<").replace(">40<", ">3<")): "is empty or has its corners swapped",
    annotation(SIZE + CAR.replace(">1<", ">9.0000001<").replace(">40<", ">8.0000002<")): "is empty",  # in float32
    annotation(SIZE.replace(">40<", "><") + CAR): "<size> lacks <width>",
    annotation(SIZE + CAR.replace(">40<", ">41<")): "lies outside its image: x is 1 to 40, y is 1 to 30",
    annotation(SIZE + CAR.replace(">30<", ">31<")): "lies outside its image",
    annotation(SIZE + CAR.replace(">1<", ">0<")): "lies outside its image",
}


@pytest.mark.parametrize("xml", FAULTS)
def test_faults_name_the_file_and_what_is_wrong(tmp_path: Path, xml: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, xml)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / '000001.xml'}: ")
    assert FAULTS[xml] in text
    assert "\n" not in text


def test_entities_are_refused_in_any_encoding(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    xml = f'<!DOCTYPE annotation [<!ENTITY l0 "ha">{laughs}]>' + annotation("<filename>&l9;</filename>")
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(DataError, match="declares a document type"):
            read(tmp_path, xml.encode(encoding))


def test_strange_encodings(tmp_path: Path) -> None:
    for encoding in ("martian", "utf-7", "idna"):
        with pytest.raises(DataError, match="is not well-formed XML"):
            read(tmp_path, f'<?xml version="1.0" encoding="{encoding}"?>{annotation(SIZE)}')
    latin = '<?xml version="1.0" encoding="iso-8859-1"?>' + annotation(f"<filename>Zoë</filename>{SIZE}{CAR}")
    assert len(read(tmp_path, latin.encode("latin-1"))) == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_xml_gives_a_target_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    content = bytearray(annotation(SIZE + CAR).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        target = read(tmp_path_factory.getbasetemp(), bytes(content))
    except DataError:
        return
    assert len(target) <= 1


whole_boxes = st.tuples(st.integers(0, 98), st.integers(0, 78), st.integers(1, 100), st.integers(1, 80)).filter(
    lambda box: box[0] < box[2] and box[1] < box[3]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(whole_boxes, st.integers(0, 19), st.booleans()), max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, objects) -> None:
    boxes = np.array([o[0] for o in objects], np.float32).reshape(-1, 4)
    target = Target(boxes, np.array([o[1] for o in objects], np.int64), np.array([o[2] for o in objects], np.bool_))
    path = tmp_path_factory.getbasetemp() / "written.xml"
    path.write_bytes(annotation_xml("written.jpg", (80, 100), target, VOC_CLASSES))
    assert read_stated_size(path) == (80, 100)
    again = read_annotation(path, VOC_CLASSES, lambda: (1, 1))
    for name in ("boxes", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(again, name), getattr(target, name))


# --- result files


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores), np.array(labels), ("bus", "car"))


def test_result_files(tmp_path: Path) -> None:
    detections = {
        "000007": found([[0, 1, 40, 30], [3.5, 4, 9.25, 8], [0, 0, 1, 1]], [1.5, -0.25, 3], [1, 1, 0]),
        "000001": found([], [], []),
        "000009": found([[10, 10, 20, 20]], [0.1], [1]),
    }
    paths = write_results(tmp_path / "results", "test", ["bus", "car"], detections)
    assert [path.name for path in paths] == ["comp4_det_test_bus.txt", "comp4_det_test_car.txt"]
    assert paths[0].read_text() == "000007 3 1 1 1 1\n"
    assert paths[1].read_text() == ("000007 1.5 1 2 40 30\n000007 -0.25 4.5 5 9.25 8\n000009 0.100000001 11 11 20 20\n")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [path.name for path in paths]


def test_a_class_without_detections_has_an_empty_file(tmp_path: Path) -> None:
    assert write_results(tmp_path, "test", ("bus", "car"), {})[1].read_bytes() == b""


def test_results_of_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="detections of 000001 are of the classes"):
        write_results(tmp_path, "test", ("car", "bus"), {"000001": found([], [], [])})
    assert not list(tmp_path.iterdir())


# --- real photographs


def test_real_photographs(voc_root: Path) -> None:
    dataset = VOCDataset(voc_root, "2007", "test")
    objects = 0
    for image_id in dataset.ids[:25]:
        image, target = dataset.image(image_id), dataset.target(image_id)
        assert dataset.size(image_id) == image.shape[:2] == read_stated_size(dataset.annotation_path(image_id))
        objects += len(target)
    assert objects >= 25
