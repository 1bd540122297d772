"""How much the windows of an image cover, against how many of them are looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.evaluation.recall import best_overlaps, proposal_recall
from spp_det.evaluation.window_baselines import random_windows, sliding_windows
from spp_det.structures import Proposals, Size, Target

COUNTS = tuple(int(n) for n in np.unique(np.geomspace(10, 10_000, 25).round()))
PANELS = {"recall_0.5": "recall at IoU 0.5", "recall_0.7": "recall at IoU 0.7", "abo": "average best overlap"}
STYLES: dict[str, dict[str, Any]] = {
    "spp_det, fast": {"color": "tab:blue"},
    "spp_det, released": {"color": "tab:blue", "linestyle": ":"},
    "spp_det, quality": {"color": "tab:blue", "linestyle": "--"},
    "OpenCV, fast": {"color": "tab:orange"},
    "OpenCV, quality": {"color": "tab:orange", "linestyle": "--"},
    "random windows": {"color": "tab:gray", "linestyle": ":"},
    "sliding windows": {"color": "tab:gray", "linestyle": "-."},
}

Curve = dict[str, list[float]]
Windows = Mapping[str, Proposals]  # by image
FirstWindows = Callable[[str, int], Proposals]  # of an image, about so many


def coverage(targets: Mapping[str, Target], windows: Windows, class_names: Sequence[str]) -> dict[str, Any]:
    """`proposal_recall`, where "abo" is the average best overlap over all objects, and "abo_by_class" that by class."""
    result = proposal_recall(targets, windows, class_names)
    result["abo_by_class"] = {name: abo for name, abo in result["abo"].items() if not np.isnan(abo)}
    best = np.concatenate([best_overlaps(targets[image_id], windows[image_id]) for image_id in targets])
    result["abo"] = float(best.mean()) if len(best) else float("nan")
    return result


def recall_curve(targets: Mapping[str, Target], first_windows: FirstWindows, counts: Sequence[int] = COUNTS) -> Curve:
    """Coverage by the first windows of each image, for each of `counts`; `first_windows(image_id, count)` gives them.

    Returns {"windows": mean count of windows an image, "recall_0.5", "recall_0.7", "abo": as `coverage`}, lists as long
    as `counts`, or shorter: they end where no image has more windows.
    """
    curve: Curve = {"windows": [], **{name: [] for name in PANELS}}
    for count in counts:
        result = coverage(targets, {image_id: first_windows(image_id, count) for image_id in targets}, ())
        if curve["windows"] and result["windows"] <= curve["windows"][-1]:
            break
        for name, values in curve.items():
            values.append(result[name])
    return curve


def ranked(windows: Windows) -> FirstWindows:
    """The best-ranked windows of each image."""
    return lambda image_id, count: windows[image_id][:count]


def baselines(sizes: Mapping[str, Size], seed: int = 0) -> dict[str, FirstWindows]:
    """Random and sliding windows for images of these sizes, by their names in `STYLES`."""
    numbers = {image_id: number for number, image_id in enumerate(sizes)}

    def draw(image_id: str, count: int) -> Proposals:
        generator = np.random.default_rng([seed, numbers[image_id]])
        return Proposals(random_windows(sizes[image_id], count, generator))

    def slide(image_id: str, count: int) -> Proposals:
        return Proposals(sliding_windows(sizes[image_id], count))

    return {"random windows": draw, "sliding windows": slide}


def plot_recall(curves: Mapping[str, Curve], title: str, path: Path) -> None:
    """Draws the curves, by their names in `STYLES`, into an image file of matplotlib's formats."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.7), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (name, label) in zip(panels, PANELS.items(), strict=True):
        for who, curve in curves.items():
            axes.plot(curve["windows"], curve[name], label=who, **STYLES[who])
        axes.set(xscale="log", xlim=(10, 10_000), ylim=(0, 1), xlabel="windows an image", title=label)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
