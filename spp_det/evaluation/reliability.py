"""Do probabilities keep what they promise? Of the detections of about one probability, how many are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spp_det.evaluation.voc import IGNORED, RIGHT, match
from spp_det.structures import Detections, Labels, Mask, Scores, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 10
LEAST = 0.1  # of the detections that score little nearly all are wrong, and so many that they would drown the others


def judged(
    targets: Mapping[str, Target], detections: Mapping[str, Detections], min_overlap: float = 0.5
) -> tuple[Scores, Labels, Mask]:
    """All detections that count, as (scores float32 [N], labels int64 [N], right bool [N]).

    targets, detections: by image, the same images in both. Those of difficult objects do not count.
    """
    scores, labels, right = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for image_id, target in targets.items():
        found = detections[image_id]
        verdicts = match(target, found, min_overlap)
        counts = verdicts != IGNORED
        scores.append(found.scores[counts])
        labels.append(found.labels[counts])
        right.append(verdicts[counts] == RIGHT)
    return np.concatenate(scores), np.concatenate(labels), np.concatenate(right)


def reliability(
    probabilities: npt.NDArray[np.floating], right: Mask, bins: int = BINS, least: float = LEAST
) -> dict[str, Any]:
    """How probabilities [N] in [0, 1] and what was right, bool [N], go together, from the probability `least` on.

    Returns {"bins": [{"from", "to", "count", "probability": their mean, "right": the share that was right}, ..] of the
    bins that are not empty, "error": the expected calibration error, the mean difference of the two over these
    detections, "count": their number, "least"}. Without any detection the error is nan.
    """
    counts = probabilities >= least
    probabilities, right = probabilities[counts], right[counts]
    place = np.minimum((np.asarray(probabilities) * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        own = place == number
        if own.any():
            chance, share = float(probabilities[own].mean()), float(right[own].mean())
            edges = {"from": number / bins, "to": (number + 1) / bins}
            rows.append({**edges, "count": int(own.sum()), "probability": chance, "right": share})
    gaps = [row["count"] * abs(row["probability"] - row["right"]) for row in rows]
    error = sum(gaps) / len(right) if len(right) else float("nan")
    return {"bins": rows, "error": error, "count": len(right), "least": least}


def draw_reliability(axes: Axes, result: Mapping[str, Any]) -> None:
    """The result of `reliability` into axes of matplotlib: the nearer to the diagonal, the better."""
    rows = result["bins"]
    axes.plot([0, 1], [0, 1], color="tab:gray", linestyle=":", label="ideal")
    axes.plot([row["probability"] for row in rows], [row["right"] for row in rows], marker="o", label="this detector")
    for row in rows:
        axes.annotate(
            f"{row['count']:,}", (row["probability"], row["right"]), (4, -10), textcoords="offset points", fontsize=7
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="share that is right", aspect="equal")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)


def plot_reliability(result: Mapping[str, Any], path: Path) -> None:
    """The same into an image file of matplotlib's formats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    draw_reliability(axes, result)
    axes.set_title(f"{result['count']:,} held-out detections, {100 * result['error']:.1f}% off on average")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
