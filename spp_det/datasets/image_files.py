"""Which files are images, and which file an image's name without its ending means."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path

from spp_det.errors import DataError
from spp_det.places import is_remote

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # in small or capital letters
_SUFFIXES = (*IMAGE_ENDINGS, ".JPG", ".JPEG", ".PNG", ".BMP", ".WEBP", ".TIF", ".TIFF")
SETTLED = 2_000_000_000  # ns since a folder's last change, after which a second change bears another time
ANNOTATION_ENDINGS = (".txt", ".xml", ".json", ".yaml", ".yml", ".cache", ".md", ".csv", ".db", ".ini", "")


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as an image's that is read here."""
    return name.lower().endswith(IMAGE_ENDINGS)


def find_image(stem: Path) -> Path:
    """The image file of a path without its ending.

    Raises DataError where there is none, one with an ending that is not read, or several (x.jpg and x.png).
    """
    listed = _listing(stem.parent).get(stem.name, ())
    if len(listed) == 1:
        return stem.parent / listed[0]
    found = [path for suffix in _SUFFIXES if (path := stem.with_name(stem.name + suffix)).is_file()]
    if len(found) > 1 and not all(path.samefile(found[0]) for path in found[1:]):  # .jpg may be .JPG on some disks
        raise DataError(found[0], f"is one of two images of one name, with {found[1].name}")
    if found:
        return found[0]
    others = [Path(path).name for path in glob.glob(f"{glob.escape(str(stem))}.*")]  # noqa: PTH207 - a path's own
    others = [name for name in sorted(others) if Path(name).suffix.lower() not in ANNOTATION_ENDINGS]
    if others:
        raise DataError(stem.with_name(others[0]), f"has an unknown extension; known are {', '.join(IMAGE_ENDINGS)}")
    raise DataError(stem.with_name(f"{stem.name}.jpg"), "there is no such image")


def find_images(folder: Path, stems: Sequence[str]) -> list[str | Path | None]:
    """`find_image` of each name in a folder, None where it raises: a fifth of the time that one by one takes."""
    listed, prefix = {} if is_remote(folder) else _listing(folder), f"{folder}{os.sep}"
    one_each = (listed.get(stem, ()) for stem in stems)
    return [
        prefix + names[0] if len(names) == 1 else _found(folder / stem)
        for stem, names in zip(stems, one_each, strict=True)
    ]


def _found(stem: Path) -> Path | None:
    try:
        return find_image(stem)
    except DataError:
        return None


def _listing(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """The image files in a folder by their names without endings; empty where it may be changing just now.

    Looked up once for each state of the folder: asking for every ending of every image takes fourteen times as long.
    """
    if is_remote(folder):
        return _list(folder, 0)
    try:
        changed = folder.stat().st_ctime_ns
    except OSError:
        return {}
    return _list(folder, changed) if abs(time.time_ns() - changed) > SETTLED else {}


@lru_cache(maxsize=4)
def _list(folder: Path, changed: int) -> Mapping[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}
    with nullcontext(folder.iterdir()) if is_remote(folder) else os.scandir(folder) as entries:
        for entry in entries:
            stem, dot, ending = entry.name.rpartition(".")
            if f"{dot}{ending}" in _SUFFIXES and (changed == 0 or entry.is_file()):
                names[stem] = (*names.get(stem, ()), entry.name)
    return names


def list_images(folder: Path) -> tuple[list[Path], dict[str, DataError]]:
    """The images in a folder and below it, sorted, and a fault for every file that is neither image nor annotation."""
    images, faults = [], {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        if is_image_name(path.name):
            images.append(path)
        elif path.suffix.lower() not in ANNOTATION_ENDINGS:
            known = ", ".join(IMAGE_ENDINGS)
            faults[str(path.relative_to(folder))] = DataError(path, f"has an unknown extension; known are {known}")
    return images, faults


def repeated(names: Iterable[str]) -> set[str]:
    """The names that stand more than once."""
    seen: set[str] = set()
    again: set[str] = set()
    for name in names:
        (again if name in seen else seen).add(name)
    return again
