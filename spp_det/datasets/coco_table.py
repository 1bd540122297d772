"""A COCO instances file, parsed: which image has which objects, and everything that is wrong with it, by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from spp_det.datasets.image_files import is_image_name, repeated
from spp_det.errors import DataError
from spp_det.files import read_json


@dataclass
class CocoTable:
    """The images of a file under their file names, in the order of their numbers.

    categories: number -> name, in the order of the numbers; images: file name -> its entry; objects: file name -> its
    annotations; faults: file name -> what is wrong with its entry or its objects' numbers; loose: what is wrong and
    belongs to no image, by name.
    """

    path: Path
    categories: dict[int, str]
    images: dict[str, dict[str, Any]]
    objects: dict[str, list[dict[str, Any]]]
    faults: dict[str, DataError] = field(default_factory=dict)
    loose: dict[str, DataError] = field(default_factory=dict)

    def fault(self, name: str, text: str) -> None:
        """Remember the first fault of an image."""
        self.faults.setdefault(name, DataError(self.path, f"image {name}: {text}"))


def read_table(path: Path) -> CocoTable:
    """Parse a file. Raises DataError where it is missing, not JSON, or not of COCO's form, as `parse_table` does."""
    return parse_table(read_json(path), path)


def parse_table(content: Any, path: Path) -> CocoTable:
    """The table of what is in a file.

    A fault of an entry goes to `faults` or `loose`. Raises DataError for what no part of the file can be used with:
    lists that are missing, no image, no category, two categories of one number or name.
    """
    if not isinstance(content, Mapping):
        raise DataError(path, "is not a COCO file: it is no table with images, annotations and categories")
    for name in ("images", "annotations", "categories"):
        entries = content.get(name)
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise DataError(path, f'is not a COCO instances file: it has no list "{name}"')
    table = CocoTable(path, _categories(content["categories"], path), {}, {})
    by_number = _images(table, content["images"])
    if not table.images:
        raise DataError(path, "names no image")
    _annotations(table, content["annotations"], by_number)
    return table


def _categories(entries: Sequence[Any], path: Path) -> dict[int, str]:
    pairs = []
    for entry in entries:
        number, name = (entry.get("id"), entry.get("name")) if isinstance(entry, Mapping) else (None, None)
        if not _is_number(number) or not isinstance(name, str) or not name.strip():
            raise DataError(path, f"has a category without an id and a name: {entry}")
        pairs.append((number, name))
    for what, values in (("id", [str(number) for number, _ in pairs]), ("name", [name for _, name in pairs])):
        again = repeated(values)
        if again:
            raise DataError(path, f"has two categories of the {what} {min(again)}")
    if not pairs:
        raise DataError(path, "has no category")
    return dict(sorted(pairs))


def _images(table: CocoTable, entries: Sequence[Any]) -> dict[int, str]:
    """Fill in the images; returns file names by number."""
    good = []
    for place, entry in enumerate(entries):
        number, name = (entry.get("id"), entry.get("file_name")) if isinstance(entry, Mapping) else (None, None)
        if not _is_number(number) or not isinstance(name, str) or not name:
            text = f"entry {place} of its images has no id or no file_name: {str(entry)[:80]}"
            table.loose[f"entry {place} of the images"] = DataError(table.path, text)
        else:
            good.append(entry)
    numbers, names = (repeated(str(entry[key]) for entry in good) for key in ("id", "file_name"))
    by_number = {}
    for entry in sorted(good, key=lambda entry: entry["id"]):
        number, name = entry["id"], str(entry["file_name"])
        table.images.setdefault(name, entry)
        table.objects.setdefault(name, [])
        by_number[number] = name
        if name in names:
            table.fault(name, "is there twice: two images of one name")
        if str(number) in numbers:
            table.fault(name, f"its id {number} is another image's, too")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            table.fault(name, "its file_name leads out of the images' folder")
        if not is_image_name(name):
            table.fault(name, "its file_name has an unknown extension")
    return by_number


def _annotations(table: CocoTable, entries: Sequence[Any], by_number: Mapping[int, str]) -> None:
    again = repeated(str(entry["id"]) for entry in entries if isinstance(entry, Mapping) and "id" in entry)
    for place, entry in enumerate(entries):
        number = entry.get("image_id") if isinstance(entry, Mapping) else None
        if not _is_number(number) or number not in by_number:
            what = f"annotation {entry['id']}" if isinstance(entry, Mapping) and "id" in entry else f"entry {place}"
            text = f"{what} belongs to the image {number!r}, which is not there"
            table.loose[f"{what} of the annotations"] = DataError(table.path, text)
            continue
        name = by_number[number]
        table.objects[name].append(entry)
        if "id" in entry and str(entry["id"]) in again:
            table.fault(name, f"the id {entry['id']} of one of its annotations is another one's, too")


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
