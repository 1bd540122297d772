"""Prints the tables of docs/scale.md and draws docs/images/scale.png.

python docs/figures/scale.py [--gpu 200] [--disk 2e9] [--price 3.0]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from spp_det.evaluation.scaling_plan import Cluster, DataSet, Rates, bottleneck, bounds, simulate, stages

OUT = Path(__file__).resolve().parent.parent / "images" / "scale.png"
DATA = (DataSet("COCO", 118_287, 80, 160e3), DataSet("Open Images", 1_743_042, 600, 300e3))
GPUS = (1, 8, 64)
CHUNK = {"COCO": 1, "Open Images": 8}  # images that a worker takes at once


def hours(seconds: float) -> str:
    """Seconds or hours, as it is shorter."""
    return f"{seconds:,.0f} s" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def amount(number: float) -> str:
    """Bytes."""
    return f"{number / 1e12:,.1f} TB" if number >= 1e12 else f"{number / 1e9:,.0f} GB"


def main() -> None:
    """Both data sets on each number of GPUs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", type=float, default=200.0, help="cores that a GPU counts as (200)")
    parser.add_argument("--disk", type=float, default=2e9, help="bytes a second of the shared disk (2e9)")
    parser.add_argument("--price", type=float, default=3.0, help="of an hour of one GPU and its cores (3.0)")
    args = parser.parse_args()
    rates = replace(Rates(), gpu=args.gpu)
    totals: dict[str, dict[int, dict[str, float]]] = {}
    for data in DATA:
        print(f"\n{data.name}: {data.images:,} images, {data.classes} classes\n")
        print("| GPUs | stage | by hand | simulated | waits for | over the disk | stays |")
        print("|---|---|---|---|---|---|---|")
        for gpus in GPUS:
            cluster = Cluster(gpus, disk=args.disk)
            times = {}
            for stage in stages(data, cluster, rates):
                least = max(bounds(stage, cluster).values())
                times[stage.name] = found = simulate(stage, cluster, chunk=CHUNK[data.name])
                cells = (gpus, stage.name, hours(least), hours(found), bottleneck(stage, cluster))
                print(f"| {' | '.join(map(str, cells))} | {amount(stage.moved)} | {amount(stage.stored)} |")
            proposals = times.pop("proposals")
            times["maps"] = max(proposals, times["maps"])  # both go on at once
            total = sum(times.values())
            price = total / 3600 * gpus * args.price
            print(f"| {gpus} | **all**, proposals beside maps | | **{hours(total)}** | {price:,.0f} units | | |")
            totals.setdefault(data.name, {})[gpus] = times
    draw(totals)


def draw(totals: dict[str, dict[int, dict[str, float]]]) -> None:
    """Hours of each stage, one bar a number of GPUs."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, (name, by_gpus) in zip(figure.subplots(1, len(totals)), totals.items(), strict=True):
        bottom = [0.0] * len(by_gpus)
        labels = [str(gpus) for gpus in by_gpus]
        for stage in next(iter(by_gpus.values())):
            heights = [times[stage] * gpus / 3600 for gpus, times in by_gpus.items()]
            axes.bar(labels, heights, bottom=bottom, label="proposals, maps" if stage == "maps" else stage)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        axes.set(title=name, xlabel="GPUs", ylabel="hours x GPUs (what is paid for)")
    axes.legend(frameon=False, fontsize=8)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
