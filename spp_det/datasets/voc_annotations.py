"""The VOC annotation of one image, an XML file: read and written here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, indent, tostring
from xml.parsers import expat

import numpy as np

from spp_det.boxes import clip
from spp_det.errors import DataError
from spp_det.structures import Boxes, Size, Target, empty_boxes

MAX_BYTES = 16 << 20  # of an annotation: its elements take some fifty times as much memory


def read_annotation(
    path: Path, class_names: Sequence[str], real_size: Callable[[], Size], first_pixel: int = 1, slack: float = 0
) -> Target:
    """The objects of one annotation file, in its order.

    A box (xmin, ymin, xmax, ymax), 1-based and inclusive, becomes (xmin - 1, ymin - 1, xmax, ymax) here. first_pixel:
    the coordinate of the first pixel, 0 in data sets that count so; slack: by how many px a box may reach beyond its
    image, and is then cut off. Labels index
    `class_names`; an absent <difficult> means 0; objects inside an object's <part> are not read. `real_size` is called
    where the file states no size of its image.

    Raises DataError where the file is missing, is no XML, declares a document type, lacks a field, holds a word for a
    number, an unknown class, or a box that is empty, swapped or outside its image.
    """
    root = _parse(path)
    if root.tag != "annotation":
        raise DataError(path, f"is not a VOC annotation: its root is <{root.tag}>, not <annotation>")
    objects = root.findall("object")
    if not objects:
        return Target(empty_boxes(), np.zeros(0, np.int64), np.zeros(0, np.bool_))
    size = stated_size(root, path) or real_size()
    return Target(
        boxes=np.stack([_box(item, path, size, first_pixel, slack) for item in objects]),
        labels=np.array([_label(item, path, class_names) for item in objects], np.int64),
        difficult=np.array([_difficult(item, path) for item in objects], np.bool_),
    )


def read_stated_size(path: Path) -> Size | None:
    """The size of the image as the annotation has it, or None where it does not say."""
    return stated_size(_parse(path), path)


def object_names(path: Path) -> set[str]:
    """The class names in an annotation. Raises DataError where it is missing or no XML."""
    return {(item.findtext("name") or "").strip() for item in _parse(path).findall("object")} - {""}


def stated_size(root: Element, path: Path) -> Size | None:
    """The size in <size> as (height, width); None where it is absent or 0, as some labelling programs write it."""
    size = root.find("size")
    if size is None:
        return None
    height, width = (int(_number(size, name, path)) for name in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None


def annotation_xml(file_name: str, size: Size, target: Target, class_names: Sequence[str]) -> bytes:
    """The annotation file of an image whose boxes have whole coordinates, in VOC's layout."""
    root = Element("annotation")
    SubElement(root, "filename").text = file_name
    _add(SubElement(root, "size"), width=size[1], height=size[0], depth=3)
    for box, label, difficult in zip(target.boxes, target.labels, target.difficult, strict=True):
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        item = SubElement(root, "object")
        SubElement(item, "name").text = class_names[label]
        _add(item, difficult=int(difficult))
        _add(SubElement(item, "bndbox"), xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
    indent(root, "\t")
    return tostring(root) + b"\n"


def _add(parent: Element, **numbers: int) -> None:
    for name, number in numbers.items():
        SubElement(parent, name).text = str(number)


def _parse(path: Path) -> Element:
    """The root element. A document type is refused: only through one can entities expand without bound."""

    def refuse(*_: object) -> NoReturn:
        raise DataError(path, "declares a document type (<!DOCTYPE ...>), which no annotation needs")

    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise DataError(path, f"has more than {MAX_BYTES >> 20} MB, which no annotation of one image needs")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
    except FileNotFoundError:
        raise DataError(path, "there is no such annotation") from None
    except OSError as fault:
        raise DataError(path, f"cannot be read ({fault.strerror})") from None
    except (expat.ExpatError, ValueError, LookupError) as fault:  # the latter two: an encoding that Python lacks
        raise DataError(path, f"is not well-formed XML ({fault})") from None
    return builder.close()


def _box(item: Element, path: Path, size: Size, first_pixel: int, slack: float) -> Boxes:
    """float32 [4]."""
    bounds = item.find("bndbox")
    if bounds is None:
        raise DataError(path, "<object> lacks <bndbox>")
    xmin, ymin, xmax, ymax = (_number(bounds, name, path) for name in ("xmin", "ymin", "xmax", "ymax"))
    beyond = 1 - first_pixel  # the last pixel is included
    box = np.array([xmin - first_pixel, ymin - first_pixel, xmax + beyond, ymax + beyond], np.float32)
    text = f"its box (xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g})"
    if box[0] >= box[2] or box[1] >= box[3]:
        raise DataError(path, f"{text} is empty or has its corners swapped")
    height, width = size
    if box[:2].min() < -slack or box[2] > width + slack or box[3] > height + slack:
        last = width + first_pixel - 1, height + first_pixel - 1
        limits = f"x is {first_pixel} to {last[0]}, y is {first_pixel} to {last[1]}"
        raise DataError(path, f"{text} lies outside its image: {limits}")
    return clip(box[None], size)[0]


def _label(item: Element, path: Path, class_names: Sequence[str]) -> int:
    name = _text(item, "name", path)
    if name not in class_names:
        raise DataError(path, f"has an object of the unknown class {name!r}; known are {', '.join(class_names)}")
    return class_names.index(name)


def _difficult(item: Element, path: Path) -> bool:
    return item.find("difficult") is not None and _number(item, "difficult", path) != 0


def _number(parent: Element, name: str, path: Path) -> float:
    text = _text(parent, name, path)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(path, f"<{name}> in <{parent.tag}> is {text!r}, not a number")
    return value


def _text(parent: Element, name: str, path: Path) -> str:
    child = parent.find(name)
    text = (child.text or "").strip() if child is not None else ""
    if not text:
        raise DataError(path, f"<{parent.tag}> lacks <{name}>")
    return text
