"""How well the windows of an image cover its objects, before any classifier looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spp_det.evaluation.voc import check_ids, exact_iou
from spp_det.structures import Proposals, Target


def proposal_recall(
    targets: Mapping[str, Target],
    proposals: Mapping[str, Proposals],
    class_names: Sequence[str],
    thresholds: Sequence[float] = (0.5, 0.7),
    max_windows: int | None = None,
) -> dict[str, Any]:
    """Recall of the objects that are not difficult, and how well their best windows fit.

    targets, proposals: by image, the same images in both. max_windows: look at the first so many of an image.
    Returns fractions in [0, 1]:
      "recall_0.5", "recall_0.7"   objects that some window overlaps with at least that IoU, over all objects
      "abo"                        {class name: average best overlap}, nan for a class without an object
      "mabo"                       the mean of "abo" over the classes with objects (SS section 5.1)
      "windows", "objects"         mean count of windows an image; count of objects
    Without any object, recall and MABO are nan.
    """
    check_ids(targets, proposals)
    found = [best_overlaps(targets[key], proposals[key][:max_windows]) for key in targets]
    best = np.concatenate([np.zeros(0), *found])
    labels = np.concatenate([np.zeros(0, np.int64), *(t.labels[~t.difficult] for t in targets.values())])
    counts = [len(some[:max_windows]) for some in proposals.values()]
    abo = {name: _mean(best[labels == label]) for label, name in enumerate(class_names)}
    result: dict[str, Any] = {f"recall_{threshold:g}": _mean(best >= threshold) for threshold in thresholds}
    result["mabo"] = _mean(np.array([value for value in abo.values() if not np.isnan(value)]))
    result["abo"] = abo
    result["windows"] = _mean(np.array(counts))
    result["objects"] = len(best)
    return result


def best_overlaps(target: Target, proposals: Proposals) -> np.ndarray:
    """The IoU of each object that is not difficult with its best window: float64 [N], 0 without windows."""
    return exact_iou(target.boxes[~target.difficult], proposals.boxes).max(axis=1, initial=0.0)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
