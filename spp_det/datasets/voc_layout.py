"""Where a data set in VOC's form keeps its annotations, images and splits."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from spp_det.errors import DataError
from spp_det.places import as_path

ALL = "all"  # the one split of a folder without lists of ids
LOOSE = (("Annotations", "JPEGImages"), ("Annotations", "images"), ("annotations", "images"), ("", ""))


@dataclass(frozen=True)
class VocFolders:
    """folder: the whole; annotations, images: where both lie; lists: ImageSets/Main, or None where there is none."""

    folder: Path
    annotations: Path
    images: Path
    lists: Path | None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits, sorted, without the devkit's files of one class; "all" where there are no lists."""
        if self.lists is None:
            return (ALL,)
        names = sorted(path.stem for path in self.lists.glob("*.txt"))
        return tuple(name for name in names if "_" not in name or name.rpartition("_")[2] not in names)


def voc_folders(root: str | PathLike[str], year: str) -> VocFolders:
    """The folders of root/VOC{year}, or of root itself.

    A folder without ImageSets/Main may have its annotations in Annotations and its images in JPEGImages or `images`, or
    all of them in one place, as labelling programs leave them. Raises DataError where it has none of these forms.
    """
    root = as_path(root)
    if not root.is_dir():
        raise DataError(root, "there is no such folder")
    folder = root / f"VOC{year}" if (root / f"VOC{year}").is_dir() else root
    lists = folder / "ImageSets" / "Main"
    if not lists.is_dir():
        for annotations, images in LOOSE:
            if (folder / images).is_dir() and any((folder / annotations).glob("*.xml")):
                return VocFolders(folder, folder / annotations, folder / images, None)
    missing = [name for name in ("Annotations", "ImageSets/Main", "JPEGImages") if not (folder / name).is_dir()]
    if not missing:
        return VocFolders(folder, folder / "Annotations", folder / "JPEGImages", lists)
    if folder != root:
        raise DataError(folder, f"lacks the folder {missing[0]}")
    if len(missing) < 3:
        raise DataError(root, f"lacks the folder {missing[0]} (and holds no VOC{year})")
    years = ", ".join(sorted(path.name for path in root.glob("VOC*") if path.is_dir()))
    held = f"; it holds {years}" if years else ""
    raise DataError(root, f"holds neither VOC{year} nor Annotations, ImageSets/Main and JPEGImages{held}")


def split_folders(root: str | PathLike[str], year: str, split: str) -> tuple[VocFolders, str]:
    """(The folders, the split's own name) of "val", a split of `year`, or of "2012/val", one of another year.

    Raises DataError where a year that is named so has no folder, and as `voc_folders` does.
    """
    named, slash, name = split.rpartition("/")
    if slash and not (Path(root) / f"VOC{named}").is_dir():
        raise DataError(Path(root) / f"VOC{named}", f"there is no such folder, which the split {split} names")
    return voc_folders(root, named or year), name


def read_ids(folders: VocFolders, split: str) -> tuple[tuple[str, ...], dict[str, DataError]]:
    """The ids of a split, and what is wrong with its list, by name: ids that stand twice, and those that are paths.

    Raises DataError for a split that is missing, no text, or without ids.
    """
    if folders.lists is None:
        if split != ALL:
            raise DataError(folders.folder, f'has no ImageSets/Main, and so no split {split}, only "{ALL}"')
        return tuple(sorted(path.stem for path in folders.annotations.glob("*.xml"))), {}
    path = folders.lists / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        found = ", ".join(folders.splits) or "none"
        raise DataError(path, f"there is no such split; there are: {found}") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(path, f"cannot be read as a list of ids ({fault})") from None
    ids: dict[str, None] = {}
    faults: dict[str, DataError] = {}
    for image_id in (line.split()[0] for line in lines if line.strip()):
        if image_id in ids:
            faults[image_id] = DataError(path, f"names the image {image_id} twice")
        elif "/" in image_id or image_id == ".":
            text = f"has the id {image_id!r}: an id is a file's name without folder and suffix"
            faults[image_id] = DataError(path, text)
        else:
            ids[image_id] = None
    if not ids:
        raise next(iter(faults.values()), DataError(path, "names no image"))
    return tuple(ids), faults
