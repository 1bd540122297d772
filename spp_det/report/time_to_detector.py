"""Average precision against time, as a plot and as a table, from the points of `pipeline.time_to_detector`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from spp_det.pipeline.time_to_detector import OURS, THEIRS
from spp_det.tooling import format_seconds

Points = Sequence[Mapping[str, Any]]
CLOCKS = {"wall_s": "seconds", "cpu_s": "seconds of all cores together"}
COLOURS = {THEIRS: ("tab:orange", "tab:red", "tab:brown", "tab:pink", "tab:gray"), OURS: ("tab:blue",)}


def verdicts(points: Points, clock: str = "wall_s", method: str = "11point") -> list[dict[str, Any]]:
    """For each number of images how spp_det fares against the best that Faster R-CNN reaches.

    Returns [{"images", "theirs": their point of the highest AP, the earliest of equals, "ours": our earliest point that
    is as good, or None, "best": our best, "share": our time over theirs, or None}].
    """
    found = []
    for images in sorted({point["images"] for point in points}):
        sides: dict[str, list[Mapping[str, Any]]] = {OURS: [], THEIRS: []}
        for point in points:
            if point["images"] == images:
                sides[point["side"]].append(point)
        if not sides[OURS] or not sides[THEIRS]:
            continue
        theirs = min(sides[THEIRS], key=lambda point: (-point["ap"][method], point[clock]))
        as_good = [point for point in sides[OURS] if point["ap"][method] >= theirs["ap"][method]]
        ours = min(as_good, key=lambda point: point[clock], default=None)
        best = min(sides[OURS], key=lambda point: (-point["ap"][method], point[clock]))
        share = None if ours is None else ours[clock] / theirs[clock]
        found.append({"images": images, "theirs": theirs, "ours": ours, "best": best, "share": share})
    return found


def verdict_line(verdict: Mapping[str, Any], clock: str = "wall_s", method: str = "11point") -> str:
    """A verdict in a sentence."""
    theirs, ours, best = verdict["theirs"], verdict["ours"], verdict["best"]
    said = f"{verdict['images']} images: Faster R-CNN ({theirs['name']}) has {100 * theirs['ap'][method]:.1f} after "
    said += f"{format_seconds(theirs[clock])}"
    if ours is None:
        return f"{said}; spp_det stays below it, {100 * best['ap'][method]:.1f} after {format_seconds(best[clock])}"
    ap, seconds = 100 * ours["ap"][method], format_seconds(ours[clock])
    return f"{said}; spp_det ({ours['name']}) has {ap:.1f} after {seconds}, {100 * verdict['share']:.1f}% of that"


def points_table(points: Points) -> Table:
    """All points, those of one side and name together."""
    table = Table(title_justify="left")
    for heading in ("images", "", "", "after", "seconds", "of cores", "AP, 11 points", "AP, area"):
        table.add_column(heading, justify="left" if heading in ("", "after") else "right")
    last = None
    for point in sorted(points, key=lambda each: (each["images"], each["side"], each["name"], each["wall_s"])):
        if last not in (None, (point["images"], point["side"])):
            table.add_section()
        last = point["images"], point["side"]
        ap = [f"{100 * point['ap'][method]:.1f}" for method in ("11point", "area")]
        seconds = [f"{point[clock]:.0f}" for clock in CLOCKS]
        table.add_row(str(point["images"]), point["side"], point["name"], point["step"], *seconds, *ap)
    return table


def plot_points(points: Points, title: str, path: Path, method: str = "11point") -> None:
    """Draws AP against the time of either clock, a row for each number of images, into an image file."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    counts = sorted({point["images"] for point in points})
    figure = Figure(figsize=(11, 0.8 + 3.6 * len(counts)), layout="constrained")
    grid = figure.subplots(len(counts), len(CLOCKS), sharey="row", squeeze=False)
    for row, images in zip(grid, counts, strict=True):
        for axes, (clock, label) in zip(row, CLOCKS.items(), strict=True):
            _draw([point for point in points if point["images"] == images], axes, clock, method)
            axes.set(xscale="log", xlabel=label, title=f"{images} images to learn from")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.grid(which="both", alpha=0.3)
        row[0].set_ylabel("average precision, %")
        row[0].legend(loc="lower right", fontsize="small")
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _draw(points: Points, axes: Any, clock: str, method: str) -> None:
    """One panel: a point for each of spp_det's variants, a line for each of Faster R-CNN's settings."""
    lines: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for point in points:
        name = "" if point["side"] == OURS else point["name"]
        lines.setdefault((point["side"], name), []).append(point)
    used = {side: iter(colours) for side, colours in COLOURS.items()}
    for (side, name), of_line in sorted(lines.items()):
        ordered = sorted(of_line, key=lambda point: point[clock])
        x = [point[clock] for point in ordered]
        y = [100 * point["ap"][method] for point in ordered]
        axes.plot(
            x, y, "o" if side == OURS else "o-", color=next(used[side]), label=f"{side}, {name}" if name else side
        )
        if side == OURS:
            for point, at in zip(ordered, zip(x, y, strict=True), strict=True):
                axes.annotate(point["name"], at, textcoords="offset points", xytext=(5, -11), fontsize="x-small")
