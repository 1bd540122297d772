"""Draws docs/images/speed.png: an image's seconds by stage, R-CNN beside SPP-net, dense and compressed.

python tools/benchmark.py detect --trunk alexnet --data VOCDEVKIT --json docs/figures/speed.json
python docs/figures/speed.py docs/figures/speed.json

Each bar is the faster of its two precisions. The right half shows SPP-net's bars again, on an axis of their own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from spp_det.evaluation.timing import TITLES
from spp_det.files import read_json

OUT = Path(__file__).resolve().parent.parent / "images" / "speed.png"
COLOURS = {
    "maps_s": "#4c78a8",
    "first_look_s": "#54a24b",
    "pooling_s": "#eeca3b",
    "fc_s": "#e45756",
    "rest_s": "#9d9da3",
}


def main(result: dict[str, Any], out: Path = OUT) -> None:
    """Writes the picture of what `tools/benchmark.py detect --json` found."""
    sides = {"R-CNN": result["rcnn"]} | {
        f"SPP-net, {kind}": min(
            (row for name, row in result["rows"].items() if name.startswith(kind)),
            key=lambda row: row["without_proposals_s"],
        )
        for kind in ("dense", "compressed")
    }
    figure, (whole, near) = plt.subplots(1, 2, figsize=(10, 2.6), width_ratios=(3, 2), layout="constrained")
    draw_bars(whole, sides, label=True)
    draw_bars(near, dict(list(sides.items())[1:]), label=False)
    whole.set_title("all three")
    near.set_title("SPP-net, enlarged")
    figure.legend(loc="outside lower center", ncols=len(COLOURS), frameon=False)
    figure.suptitle(
        f"{result.get('trunk', 'detector')}, {result['windows']:,} windows, {result['threads']} threads, "
        "without proposals",
        fontsize=10,
    )
    figure.savefig(out, dpi=150)
    plt.close(figure)


def draw_bars(axes: Axes, sides: dict[str, dict[str, Any]], label: bool) -> None:
    """One bar for each side, its stages one after the other, and its sum behind it; seconds, or milliseconds."""
    longest = max(side["without_proposals_s"] for side in sides.values())
    factor, unit = (1, "s") if longest > 1 else (1000, "ms")
    names = list(sides)
    ends = [0.0] * len(names)
    for stage, colour in COLOURS.items():
        widths = [factor * sides[name].get(stage, 0.0) for name in names]
        axes.barh(names, widths, left=ends, color=colour, label=TITLES[stage] if label else None)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    for name, end in zip(names, ends, strict=True):
        axes.text(end + 0.01 * max(ends), name, f" {end:.3g} {unit}", va="center", fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18 * max(ends))
    axes.set_xlabel(f"{'seconds' if unit == 's' else 'milliseconds'} an image")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(read_json(Path(sys.argv[1])))
