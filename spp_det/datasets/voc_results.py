"""The devkit's result files, written and read: the only place where boxes become 1-based and inclusive again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from spp_det.errors import DataError
from spp_det.files import write_whole
from spp_det.structures import Detections

_LARGEST = 1e30  # no score and no pixel lies beyond


def write_results(
    folder: str | PathLike[str], split: str, class_names: Sequence[str], detections: Mapping[str, Detections]
) -> list[Path]:
    """Write comp4_det_{split}_{class}.txt for each class, whole or not at all; the folder is made where it is absent.

    A line is `id score xmin ymin xmax ymax`, coordinates 1-based and inclusive, in the order of `detections` (image id
    to what was found there). A class of which nothing was found gets an empty file: the devkit asks for one.

    Returns the files' paths. Raises ValueError where the detections are of other classes.
    """
    names = tuple(class_names)
    lines: dict[str, list[str]] = {name: [] for name in names}
    for image_id, found in detections.items():
        if found.class_names != names:
            raise ValueError(f"the detections of {image_id} are of the classes {found.class_names}, not {names}")
        for box, score, name in found:
            x1, y1, x2, y2 = (float(value) for value in box)
            # 9 digits give every float32 back
            lines[name].append(f"{image_id} {score:.9g} {x1 + 1:.9g} {y1 + 1:.9g} {x2:.9g} {y2:.9g}\n")
    paths = [_path(folder, split, name) for name in names]
    for name, path in zip(names, paths, strict=True):
        write_whole(path, "".join(lines[name]).encode())
    return paths


def read_results(
    folder: str | PathLike[str], split: str, class_names: Sequence[str], image_ids: Sequence[str]
) -> dict[str, Detections]:
    """Read what `write_results` or the devkit's own tools wrote: the detections of each image, in the order of the ids.

    Within an image they come class by class, the best score first; an image without any has none.

    Raises DataError, with the file and the line, where a class has no file, a line is not `id score xmin ymin xmax
    ymax`, a number is not finite, a box is empty or begins before pixel 1, or the image is none of `image_ids`.
    """
    names = tuple(class_names)
    rows: dict[str, list[list[float]]] = {image_id: [] for image_id in image_ids}
    for label, name in enumerate(names):
        for image_id, row in _lines(_path(folder, split, name), rows):
            rows[image_id].append([label, *row])
    return {image_id: _detections(found, names) for image_id, found in rows.items()}


def _path(folder: str | PathLike[str], split: str, name: str) -> Path:
    path = Path(folder) / f"comp4_det_{split}_{name}.txt"
    if path.parent != Path(folder) or "\0" in name:
        raise DataError(path, f"is no file of that folder: the split is {split!r}, the class {name!r}")
    return path


def _lines(path: Path, images: Mapping[str, object]) -> Iterator[tuple[str, list[float]]]:
    """(image id, [score, x1, y1, x2, y2]) of each line of a class's file, the box as this package has it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(path, "there is no such file of results") from None
    except UnicodeDecodeError:
        raise DataError(path, "is no text") from None
    for number, line in enumerate(lines, 1):
        image_id, *words = line.split() or [""]
        if not image_id:
            continue
        try:
            score, xmin, ymin, xmax, ymax = map(float, words)
        except ValueError:
            raise DataError(path, f"line {number} is not `id score xmin ymin xmax ymax`") from None
        if image_id not in images:
            raise DataError(path, f"line {number}: {image_id} is none of the {len(images)} images asked for")
        if not (abs(score) < _LARGEST and _is_span(xmin, xmax) and _is_span(ymin, ymax)):
            text = " ".join(words)
            fault = "an empty box, one that begins before pixel 1, or a number that is not finite"
            raise DataError(path, f"line {number}: {text} has {fault}")
        yield image_id, [score, xmin - 1, ymin - 1, xmax, ymax]


def _is_span(first: float, last: float) -> bool:
    """Whether pixels from 1 on, both ends within, are some; also in float32, where a thin box may become empty."""
    return 1 <= first <= last + 1 < _LARGEST and bool(np.float32(first - 1) < np.float32(last))


def _detections(rows: list[list[float]], names: tuple[str, ...]) -> Detections:
    if not rows:
        return Detections.empty(names)
    table = np.array(rows)
    table = table[np.lexsort((-table[:, 1], table[:, 0]))]
    return Detections(table[:, 2:], table[:, 1], table[:, 0].astype(np.int64), names)
