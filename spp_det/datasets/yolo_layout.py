"""Where a data set in YOLO's form keeps its images, its text files and its class names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spp_det.datasets.image_files import IMAGE_ENDINGS, is_image_name, list_images, repeated
from spp_det.errors import DataError

NAME_LISTS = ("classes.txt", "obj.names", "labels/classes.txt", "_darknet.labels")
ALL = "all"
MAX_BYTES = 256 << 10  # of data.yaml; names of 9,000 classes are 200 KB


@dataclass(frozen=True)
class YoloLayout:
    """root: the folder that paths are below; source: the file with the names; splits: name -> its folders and lists."""

    root: Path
    source: Path
    names: tuple[str, ...]
    splits: dict[str, list[Path]] = field(default_factory=dict)

    def images(self, split: str) -> tuple[list[Path], dict[str, DataError]]:
        """The images of a split, sorted, and faults of files that are none. Raises DataError where it has none."""
        if split not in self.splits:
            raise DataError(self.source, f"has no split {split}; there are: {', '.join(self.splits) or 'none'}")
        images: dict[Path, None] = {}
        faults: dict[str, DataError] = {}
        for place in self.splits[split]:
            found, wrong = _images_at(place)
            images |= dict.fromkeys(found)
            faults |= wrong
        if not images:
            places = ", ".join(map(str, self.splits[split]))
            raise DataError(self.source, f"its split {split} has no image in {places}")
        used = {self.label_file(image) for image in images}
        for place in self.splits[split]:
            for path in self._label_files_of(place):
                if path not in used:
                    faults[f"{path.parent.name}/{path.name}"] = DataError(path, "belongs to no image")
        return sorted(images), faults

    def _label_files_of(self, place: Path) -> list[Path]:
        """The text files of a folder of images, where they lie in a folder of their own; lists of names are none."""
        if not place.is_dir():
            return []
        folder = self.label_file(place / "any.jpg").parent
        if folder == place or not folder.is_dir():
            return []
        names = {Path(name).name for name in NAME_LISTS}
        return [path for path in sorted(folder.rglob("*.txt")) if path.name not in names]

    def label_file(self, image: Path) -> Path:
        """The text file of an image: in `labels` where its path has `images`, else beside it."""
        parts = list(image.parts)
        for place in range(len(parts) - 2, -1, -1):
            if parts[place] == "images":
                parts[place] = "labels"
                return Path(*parts).with_suffix(".txt")
        beside = image.with_suffix(".txt")
        apart = image.parent.parent / "labels" / beside.name
        return apart if not beside.is_file() and apart.is_file() else beside


def find_layout(root: Path) -> YoloLayout:
    """The layout of a folder or a .yaml file.

    A folder has data.yaml, or another .yaml with `names`; or a list of names (classes.txt, obj.names), one a line, and
    images. Raises DataError where it has neither, or they are broken.
    """
    if root.is_file():
        return _from_yaml(root)
    if not root.is_dir():
        raise DataError(root, "there is no such folder")
    files = [root / "data.yaml", root / "data.yml", *sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]
    for path in files:
        if path.is_file():
            return _from_yaml(path)
    for name in NAME_LISTS:
        if (root / name).is_file():
            return _from_names(root, root / name)
    raise DataError(root, f"has neither data.yaml nor {' nor '.join(NAME_LISTS[:2])}")


class _Loader(yaml.SafeLoader):
    """Plain values alone. References, by which a few lines can stand for billions of names, are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has a reference (*), which is not read")
        return super().compose_node(parent, index)


def _read_yaml(path: Path) -> Any:
    """The value in a YAML file. Raises DataError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(path, f"has more than {MAX_BYTES >> 10} KB, which no list of names needs")
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError) as fault:  # ValueError: bytes that are no text, dates that are none
        raise DataError(path, f"is not YAML ({' '.join(str(fault).split())})") from None
    except RecursionError:
        raise DataError(path, "is YAML that is nested too deep") from None


def _from_yaml(path: Path) -> YoloLayout:
    content = _read_yaml(path)
    if not isinstance(content, dict) or "names" not in content:
        raise DataError(path, "has no names of classes")
    root = path.parent
    if isinstance(content.get("path"), str) and _is_there(root / content["path"]) and (root / content["path"]).is_dir():
        root = root / content["path"]
    names = _names(content["names"], path)
    if content.get("nc", len(names)) != len(names):
        raise DataError(path, f"has nc = {content['nc']} and {len(names)} names")
    splits = {}
    for split in ("train", "val", "valid", "test"):
        places = content.get(split)
        if places:
            splits[split] = [_place(root, place, path) for place in (places if isinstance(places, list) else [places])]
    return YoloLayout(root, path, names, splits)


def _place(root: Path, place: Any, source: Path) -> Path:
    """Where an entry of a split points: below the root, or, as some exporters mean `../train`, without the `..`."""
    if not isinstance(place, str):
        raise DataError(source, f"has the entry {place!r}, not a path")
    stripped = place
    while stripped.startswith("../"):
        stripped = stripped[3:]
    for candidate in (root / place, root / stripped):
        if _is_there(candidate):
            return candidate
    raise DataError(root / place, f"is not there; {source.name} names it")


def _is_there(path: Path) -> bool:
    """Whether a path of someone else's exists; one that is too long to be looked for does not."""
    try:
        return path.exists()
    except OSError:
        return False


def _names(value: Any, path: Path) -> tuple[str, ...]:
    """Names as a list, or a table of numbers from 0."""
    if isinstance(value, dict):
        if not all(isinstance(number, int) for number in value) or sorted(value) != list(range(len(value))):
            raise DataError(path, "numbers its names otherwise than 0, 1, 2 ..")
        value = [value[number] for number in range(len(value))]
    if not isinstance(value, list) or not value:
        raise DataError(path, "has no names of classes")
    names = tuple(str(name).strip() for name in value)
    if repeated(names) or "" in names:
        raise DataError(path, f"has a name twice, or an empty one: {', '.join(names)}")
    return names


def _from_names(root: Path, source: Path) -> YoloLayout:
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(source, f"cannot be read as text ({fault})") from None
    names = _names([line for line in lines if line.strip()], source)
    base = root / "images" if (root / "images").is_dir() else root
    below = {
        path.name: [path] for path in sorted(base.iterdir()) if path.is_dir() and path.name in ("train", "val", "test")
    }
    return YoloLayout(root, source, names, below or {ALL: [base]})


def _images_at(place: Path) -> tuple[list[Path], dict[str, DataError]]:
    """The images of a folder, of a list of paths (.txt), or the image itself."""
    if place.is_dir():
        return list_images(place)
    if is_image_name(place.name):
        return [place], {}
    try:
        lines = [line.strip() for line in place.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(place, f"cannot be read as a list of images ({fault})") from None
    wrong = [line for line in lines if not is_image_name(line)]
    known = ", ".join(IMAGE_ENDINGS)
    faults = {line: DataError(place, f"names {line}, an unknown extension; known are {known}") for line in wrong}
    for line in repeated(lines):
        faults[line] = DataError(place, f"names {line} twice")
    return [place.parent / line for line in lines if line not in wrong], faults
