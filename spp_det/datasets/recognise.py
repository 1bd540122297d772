"""Which form a user's data set has, by looking at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from spp_det.config import DataConfig
from spp_det.datasets.base import Dataset
from spp_det.datasets.coco import annotation_files
from spp_det.datasets.coco_table import read_table
from spp_det.datasets.formats import open_dataset
from spp_det.datasets.ilsvrc import ilsvrc_folder
from spp_det.datasets.shapes import SETTINGS
from spp_det.datasets.voc import VOC_CLASSES
from spp_det.datasets.voc_annotations import object_names
from spp_det.datasets.voc_layout import VocFolders, voc_folders
from spp_det.datasets.yolo_layout import find_layout
from spp_det.errors import ConfigError, DataError
from spp_det.files import read_json
from spp_det.places import as_path

TRAIN = ("trainval", "train")
TEST = ("test", "val", "valid")


@dataclass(frozen=True)
class Recognised:
    """A data set whose form was found.

    format, root, year, classes, options: as a DataConfig has them; class_names: all classes; splits: all splits;
    said: what was found, in lines for the user.
    """

    format: str
    root: str
    splits: tuple[str, ...]
    class_names: tuple[str, ...]
    said: tuple[str, ...]
    classes: tuple[str, ...] | None = None
    year: str = "2007"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def train(self) -> str:
        """The split to train on; of the only split there is, the part "learn"."""
        named = [name for name in TRAIN if name in self.splits]
        named += [name for name in self.splits if name.startswith("train")]
        split = (named or self.splits)[0]
        return split if self._others(split) else f"{split}:learn"

    @property
    def test(self) -> str:
        """The split to test on; without one, a fifth of the images, held out of the one to train on."""
        name, _, part = self.train.partition(":")
        return f"{name}:held" if part else self._others(name)[0]

    def _others(self, split: str) -> list[str]:
        """The splits to test on, the best first, if `split` is trained on."""
        left = [name for name in self.splits if name != split and (split != "trainval" or name not in ("train", "val"))]
        named = [name for name in TEST if name in left]
        return named + [name for name in left if name.startswith(("val", "test")) and name not in named]

    @property
    def usual_splits(self) -> tuple[str, ...]:
        """The splits that a check looks at where none is named."""
        both = self.train.partition(":")[0], self.test.partition(":")[0]
        return tuple(dict.fromkeys(both))

    def data_config(self) -> DataConfig:
        """The `[data]` of a configuration that trains and tests on it."""
        classes = None if self.classes is None else list(self.classes)
        return DataConfig(
            format=self.format,
            root=self.root,
            year=self.year,
            train=self.train,
            test=self.test,
            classes=classes,
            options=self.options,
        )

    def dataset(self, split: str) -> Dataset:
        """The data set of a split. Raises DataError where it is missing or broken."""
        return open_dataset(self.data_config(), split)


def recognise(
    path: str | PathLike[str],
    format: str | None = None,
    year: str | None = None,
    classes: Sequence[str] | None = None,
) -> Recognised:
    """Find out which form the data set at a path has: a folder, a COCO .json or a YOLO .yaml file.

    format: a key of FORMS, to try that one alone. year: of a folder with several VOC{year}; None: 2007, else the last.
    classes: those to keep; None: all that there are.
    Raises DataError that says, form by form, why it is none of them, and ConfigError for an unknown format.
    """
    path = as_path(path)
    if not path.exists():
        raise DataError(path, "there is no such folder" if not path.suffix else "there is no such file")
    if format is not None and format not in FORMS:
        raise ConfigError(f"{format} is not a form that is recognised; there is {', '.join(FORMS)}")
    found, reasons = [], []
    for name in FORMS if format is None else (format,):
        try:
            found.append(FORMS[name](path, year, classes))
        except DataError as fault:
            reasons.append(f"{name}: {fault}")
    if not found:
        raise DataError(path, f"is no data set of a form that is read here; {'; '.join(reasons)}")
    if len(found) > 1:
        also = ", ".join(each.format for each in found[1:])
        first = found[0]
        return Recognised(**{**vars(first), "said": (*first.said, f"it could be taken for {also}, too")})
    return found[0]


def _shapes(path: Path, year: str | None, classes: Sequence[str] | None) -> Recognised:
    if not (path / SETTINGS).is_file():
        raise DataError(path, f"has no {SETTINGS}")
    settings = read_json(path / SETTINGS)
    options = {name: settings[name] for name in ("train", "test", "seed")}
    names = open_dataset(DataConfig(format="shapes", root=str(path), options=options), "train").class_names
    said = ("generated shapes",)
    return Recognised("shapes", str(path), ("trainval", "train", "val", "test"), names, said, options=options)


def _ilsvrc(path: Path, year: str | None, classes: Sequence[str] | None) -> Recognised:
    folder = ilsvrc_folder(path)
    kept = None if classes is None else tuple(classes)
    names = open_dataset(DataConfig(format="ilsvrc_det", root=str(path), classes=list(classes or []) or None), "val")
    splits = ("val1+train", "val2")  # train alone has no negatives
    return Recognised("ilsvrc_det", str(path), splits, names.class_names, (f"ILSVRC DET in {folder}",), kept)


def _voc(path: Path, year: str | None, classes: Sequence[str] | None) -> Recognised:
    years = sorted(each.name.removeprefix("VOC") for each in path.glob("VOC*") if each.is_dir())
    chosen = year or ("2007" if "2007" in years or not years else years[-1])
    folders = voc_folders(path, chosen)
    if not folders.splits:
        raise DataError(folders.folder / "ImageSets" / "Main", "holds no split, a file such as trainval.txt")
    names = _voc_classes(folders) if classes is None else tuple(classes)
    kept = None if names == VOC_CLASSES else names
    said = [f"VOC's form in {folders.folder}: {_counted(folders.splits, 'split')}, {_counted(names, 'class')}"]
    if len(years) > 1 and year is None:
        said.append(f"there is {', '.join('VOC' + each for each in years)}; the year chooses another")
    return Recognised("voc", str(path), folders.splits, names, tuple(said), kept, chosen)


def _voc_classes(folders: VocFolders) -> tuple[str, ...]:
    """The names in all annotations, sorted: VOC's own twenty, in their order, where all of those are there."""
    names: set[str] = set()
    for path in sorted(folders.annotations.glob("*.xml")):
        try:
            names |= object_names(path)
        except DataError:  # to be told where its image is used
            continue
    if not names:
        raise DataError(folders.annotations, "has no annotation with an object")
    return tuple(sorted(names))


def _yolo(path: Path, year: str | None, classes: Sequence[str] | None) -> Recognised:
    layout = find_layout(path)
    if not layout.splits:
        raise DataError(layout.source, "names no train, val or test")
    names = layout.names if classes is None else tuple(classes)
    said = f"YOLO's form, names in {layout.source}: {_counted(layout.splits, 'split')}, {_counted(names, 'class')}"
    kept = None if classes is None else names
    return Recognised("yolo", str(path), tuple(layout.splits), names, (said,), kept)


def _coco(path: Path, year: str | None, classes: Sequence[str] | None) -> Recognised:
    root = path
    if path.is_file():
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
    files = {path.relative_to(root).as_posix(): path} if path.is_file() else annotation_files(path)
    if not files:
        raise DataError(path, "has no annotations/instances_NAME.json, NAME/_annotations.coco.json or other .json")
    good, said = {}, []
    for split, file in files.items():
        try:
            good[split] = tuple(read_table(file).categories.values())
        except DataError as fault:
            said.append(f"passed over {fault}")
    if not good:
        raise DataError(path, " and ".join(said))
    names = next(iter(good.values())) if classes is None else tuple(classes)
    others = [split for split, theirs in good.items() if set(theirs) != set(names)]
    if classes is None and others:
        said.append(f"the categories of {', '.join(others)} are not those of {next(iter(good))}")
    said.insert(0, f"COCO's form in {root}: {_counted(good, 'split')}, {_counted(names, 'class')}")
    kept = names if classes is not None or others else None
    return Recognised("coco", str(root), tuple(good), names, tuple(said), kept)


def _counted(names: Sequence[str] | dict[str, Any], what: str) -> str:
    shown = ", ".join(list(names)[:8]) + (" .." if len(names) > 8 else "")
    plural = {"split": "splits", "class": "classes"}[what]
    return f"{len(names)} {what if len(names) == 1 else plural} ({shown})"


FORMS: dict[str, Callable[[Path, str | None, Sequence[str] | None], Recognised]] = {
    "shapes": _shapes,
    "ilsvrc_det": _ilsvrc,
    "voc": _voc,
    "yolo": _yolo,
    "coco": _coco,
}
