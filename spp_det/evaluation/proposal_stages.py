"""Where selective search spends its time: the processor's milliseconds of each stage, by one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from rich.table import Table

from spp_det.proposals.search import build_hierarchies, selective_search
from spp_det.proposals.strategies import MODES
from spp_det.structures import Image
from spp_det.watch import Watch

TITLES = {
    "colours": "colours, smoothing",
    "edges": "weights of edges, sorted",
    "segmentation": "segmentation by union-find",
    "bins": "derivatives and bins",
    "histograms": "histograms of regions",
    "neighbours": "sizes, boxes, neighbours",
    "coarser": "coarser regions from finer ones",
    "grouping": "grouping",
    "ranking": "ranking, duplicates",
}


def measure_stages(
    images: Sequence[Image], mode: str = "fast", progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Milliseconds of each stage of `TITLES`, the median over images, uint8 [H, W, 3], that are searched as they are.

    "ranking" is the rest of a whole search.
    """
    found: list[dict[str, float]] = []
    for number, image in enumerate([images[0], *images]):  # the first compiles
        found.append(_stages(image, mode))
        if progress:
            progress(number, len(images))
    return {stage: 1e3 * statistics.median(each[stage] for each in found[1:]) for stage in TITLES}


def _stages(image: Image, mode: str) -> dict[str, float]:
    watch = Watch(time.process_time)
    with watch.stage("all"):
        selective_search(image, mode, threads=1)
    build_hierarchies(image, MODES[mode], 1, watch)
    seconds = watch.seconds
    return seconds | {"ranking": 2 * seconds["all"] - sum(seconds.values())}


def stages_table(milliseconds: dict[str, float], count: int, mode: str) -> Table:
    """The result of `measure_stages` as a table to print."""
    table = Table(title=f"processor's ms of an image, {mode} mode, one thread, median of {count}")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    for stage, title in TITLES.items():
        table.add_row(title, f"{milliseconds[stage]:.1f}")
    table.add_section()
    table.add_row("all", f"{sum(milliseconds.values()):.1f}")
    return table
