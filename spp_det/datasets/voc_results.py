"""The devkit's result files, the only place where boxes become 1-based and inclusive again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from spp_det.files import write_whole
from spp_det.structures import Detections


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
    paths = [Path(folder) / f"comp4_det_{split}_{name}.txt" for name in names]
    for name, path in zip(names, paths, strict=True):
        write_whole(path, "".join(lines[name]).encode())
    return paths
