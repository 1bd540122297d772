"""Testing a trained classifier: top-1 and top-5 errors by views."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from spp_det.classification.config import ClassificationConfig, Views
from spp_det.classification.folders import LabelledImages, read_folders, read_picture
from spp_det.classification.network import SPPClassifier, load_classifier
from spp_det.classification.views import Plan, ViewClassifier, plan_views
from spp_det.errors import DataError
from spp_det.files import write_json
from spp_det.networks.precision import product_type
from spp_det.parallel import available_cores, map_ordered
from spp_det.structures import Image
from spp_det.tooling import console, track


def evaluate_classifier(
    run: Path, data: str | None = None, split: str | None = None, overrides: Sequence[str] = (), skip_bad: bool = False
) -> dict[str, Any]:
    """Test the classifier that a training left in `run`; print its errors and write them to run/errors.json.

    data: the folder to test on, in place of the configuration's; split: its folder of class folders, by default the
    configuration's data.val; overrides: of settings, e.g. `testing.views=["98"]`; skip_bad: go on without images that
    cannot be read. Returns {"images", "left_out", "views": {name: {"top1", "top5", "seconds"}}}, errors in [0, 1].
    """
    network, config = load_classifier(run, overrides)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = Path(data or config.data.root) / (split or config.data.val or config.data.train)
    images = read_folders(folder, network.class_names)
    result = view_errors(network.to(device), config, images, skip_bad)
    console.print(errors_table(result))
    for fault in result["left_out"]:
        console.print(f"left out {fault}", markup=False, soft_wrap=True)
    write_json(run / "errors.json", result)
    return result


def view_errors(
    network: SPPClassifier, config: ClassificationConfig, images: LabelledImages, skip_bad: bool = False
) -> dict[str, Any]:
    """Errors of each of the configuration's views; see `evaluate_classifier`.

    Raises DataError for an image that cannot be read, unless it is to be skipped, and where none can.
    """
    network.eval()
    testing = config.testing
    looker = ViewClassifier(network, testing.view, product_type(config.precision, network.device))
    plans: dict[Views, Plan] = {views: plan_views(views, testing) for views in testing.views}
    ranks: dict[Views, list[int]] = {views: [] for views in plans}
    seconds = dict.fromkeys(plans, 0.0)
    faults: list[str] = []
    for image, label in track(_read(images), "testing", total=len(images)):
        if isinstance(image, DataError):
            if not skip_bad:
                raise image
            faults.append(str(image))
            continue
        for views, plan in plans.items():
            begin = time.monotonic()
            ranks[views].append(rank(looker.probabilities(image, plan), label))
            seconds[views] += time.monotonic() - begin
    count = len(images) - len(faults)
    if not count:
        raise DataError(images.paths[0].parent.parent, f"none of the {len(images)} images can be read")
    errors = {
        views: {"top1": _above(of, 1), "top5": _above(of, 5), "seconds": seconds[views] / count}
        for views, of in ranks.items()
    }
    return {"images": count, "classes": len(network.class_names), "left_out": faults, "views": errors}


def rank(probabilities: np.ndarray, label: int) -> int:
    """How many classes are at least as probable as that of `label`, itself counted: 1 is right; of ties it is last.

    So it is where nothing is a number, as of a network whose training diverged.
    """
    return int((~(probabilities < probabilities[label])).sum())


def _above(ranks: Iterable[int], top: int) -> float:
    return float(np.mean([value > top for value in ranks]))


def _read(images: LabelledImages) -> Iterator[tuple[Image | DataError, int]]:
    """The images and their labels, read ahead; a fault in place of what cannot be read."""

    def read(path: Path) -> Image | DataError:
        try:
            return read_picture(path)
        except DataError as fault:
            return fault

    return zip(map_ordered(read, images.paths, available_cores()), images.labels.tolist(), strict=True)


def errors_table(result: dict[str, Any]) -> Table:
    """The errors as a table to print."""
    table = Table(title=f"errors, {result['images']} images, {result['classes']} classes")
    table.add_column("views")
    for heading in ("top-1", "top-5", "ms an image"):
        table.add_column(heading, justify="right")
    for views, of in result["views"].items():
        table.add_row(views, f"{100 * of['top1']:.2f}%", f"{100 * of['top5']:.2f}%", f"{1000 * of['seconds']:.0f}")
    return table
