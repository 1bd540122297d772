"""COCO's twelve figures, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.table import Table

from spp_det.evaluation.voc import check_ids
from spp_det.structures import Boxes, Detections, Target

FIGURES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
DESCRIPTIONS = {
    "AP": "mean over IoU 0.50 to 0.95", "AP50": "IoU 0.50", "AP75": "IoU 0.75",
    "AP_small": "objects under 32 x 32 px", "AP_medium": "between", "AP_large": "over 96 x 96 px",
    "AR1": "1 detection an image", "AR10": "10", "AR100": "100",
    "AR_small": "objects under 32 x 32 px", "AR_medium": "between", "AR_large": "over 96 x 96 px",
}  # fmt: skip


def coco_figures(
    targets: Mapping[str, Target],
    detections: Mapping[str, Detections],
    class_names: Sequence[str],
    areas: Mapping[str, npt.NDArray[np.float64]] | None = None,
) -> dict[str, float]:
    """AP and AR as COCO counts them, fractions in [0, 1] under the names of FIGURES; nan where there is no such object.

    targets, detections: by image, the same images in both; of equal scores the image that comes first in `targets`
    counts first. Difficult objects stand for crowds (iscrowd = 1): what lies in them is neither right nor wrong.
    areas: px of each object of each image, which decide what is small and large; None: those of the boxes.
    """
    check_ids(targets, detections)
    truth = COCO()
    truth.dataset = _truth(targets, class_names, areas)
    results = _results(targets, detections)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        truth.createIndex()
        if not truth.anns or not results:
            return _without_detections(targets, areas)
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float("nan") if value < 0 else float(value) for value in evaluation.stats]
    return dict(zip(FIGURES, values, strict=True))


def coco_table(figures: Mapping[str, float]) -> Table:
    """The figures in %, a row each."""
    table = Table("", "%", "", title="COCO's figures", title_justify="left")
    table.columns[1].justify = "right"
    for name in FIGURES:
        value = "-" if np.isnan(figures[name]) else f"{100 * figures[name]:.1f}"
        table.add_row(name, value, DESCRIPTIONS[name])
    return table


def _truth(
    targets: Mapping[str, Target], class_names: Sequence[str], areas: Mapping[str, npt.NDArray[np.float64]] | None
) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for image, (image_id, target) in enumerate(targets.items()):
        boxes = _as_coco(target.boxes)
        sizes = boxes[:, 2] * boxes[:, 3] if areas is None else areas[image_id]
        for box, label, difficult, size in zip(boxes, target.labels, target.difficult, sizes, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": box.tolist(),
                    "area": float(size),
                    "iscrowd": int(difficult),
                }
            )
    categories = [{"id": label, "name": name} for label, name in enumerate(class_names)]
    return {"images": [{"id": i} for i in range(len(targets))], "annotations": annotations, "categories": categories}


def _results(targets: Mapping[str, Target], detections: Mapping[str, Detections]) -> list[dict[str, Any]]:
    results = []
    for image, image_id in enumerate(targets):
        found = detections[image_id]
        for box, score, label in zip(_as_coco(found.boxes), found.scores, found.labels, strict=True):
            result = {"image_id": image, "category_id": int(label), "bbox": box.tolist(), "score": float(score)}
            results.append(result)
    return results


def _as_coco(boxes: Boxes) -> npt.NDArray[np.float64]:
    """(x, y, width, height): float64 [N, 4]."""
    wide: npt.NDArray[np.float64] = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)


def _without_detections(
    targets: Mapping[str, Target], areas: Mapping[str, npt.NDArray[np.float64]] | None
) -> dict[str, float]:
    """The figures where nothing is found or nothing is there, which pycocotools cannot take: 0, or nan."""
    sizes = [np.zeros(0)]
    for image_id, target in targets.items():
        boxes = _as_coco(target.boxes)
        asked = boxes[:, 2] * boxes[:, 3] if areas is None else areas[image_id]
        sizes.append(asked[~target.difficult])
    every = np.concatenate(sizes)
    there = {
        "small": (every <= 32**2).any(),
        "medium": ((every >= 32**2) & (every <= 96**2)).any(),
        "large": (every >= 96**2).any(),
    }
    return {name: 0.0 if there.get(name.partition("_")[2], len(every) > 0) else float("nan") for name in FIGURES}
