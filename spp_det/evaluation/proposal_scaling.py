"""Selective search on ever larger images: seconds against pixels, and the memory of the largest.

Two kinds of large image, since they are not equally hard: one photograph enlarged, which is smooth and has few regions
for its pixels, and a mosaic of many, which has as many regions for its pixels as they have.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.table import Table

from spp_det.evaluation.proposal_memory import peak_memory
from spp_det.images import resize
from spp_det.proposals import selective_search
from spp_det.structures import Image

TILE = (375, 500)  # the size of most VOC photographs
FACTORS = (1, 2, 3, 4, 6, 8)  # of the sides; the last gives 4000 x 3000 pixels


def measure_scaling(
    images: Sequence[Image],
    mode: str = "fast",
    factors: Sequence[int] = FACTORS,
    repeats: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Time selective search on enlarged photographs and mosaics, `factors` times as wide and high as `TILE`.

    images: photographs of any size; each repeat takes others, from the first on. progress: called with the tiles done
    and of how many. Returns for each of "enlarged" and "mosaic"
      {"pixels", "seconds" (median of the repeats), "windows" (of the last): lists, a number for each factor;
       "peak_mb": memory over the imports, of the largest image}
    Raises ConfigError where the system does not tell how much memory a process takes.
    """
    builders = {"enlarged": enlarged, "mosaic": mosaic}
    tiles_done, tiles = 0, len(builders) * repeats * sum(factor**2 for factor in factors)
    selective_search(mosaic(images, 0, 1), mode)  # compiles
    result: dict[str, Any] = {}
    for kind, build in builders.items():
        rows: dict[str, Any] = {"pixels": [], "seconds": [], "windows": []}
        for factor in factors:
            seconds = []
            for repeat in range(repeats):
                image = build(images, repeat, factor)
                start = time.perf_counter()
                windows = selective_search(image, mode)
                seconds.append(time.perf_counter() - start)
                tiles_done += factor**2
                if progress:
                    progress(tiles_done, tiles)
            rows["pixels"].append(image.shape[0] * image.shape[1])
            rows["seconds"].append(statistics.median(seconds))
            rows["windows"].append(len(windows))
        rows["peak_mb"] = peak_memory(build(images, 0, max(factors)), mode)
        result[kind] = rows
    return result


def enlarged(images: Sequence[Image], first: int, factor: int) -> Image:
    """One photograph, `factor` times as large as `TILE`, bicubic: uint8 [H, W, 3]."""
    height, width = TILE[0] * factor, TILE[1] * factor
    image = images[first % len(images)]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def mosaic(images: Sequence[Image], first: int, factor: int) -> Image:
    """`factor` x `factor` photographs, each of the size `TILE`: uint8 [H, W, 3]."""
    tiles = [resize(images[(first + n) % len(images)], TILE) for n in range(factor * factor)]
    return np.concatenate([np.concatenate(tiles[n : n + factor], axis=1) for n in range(0, len(tiles), factor)])


def scaling_table(result: dict[str, Any]) -> Table:
    """The result of `measure_scaling` as a table to print."""
    table = Table(title_justify="left")
    for heading in ("", "pixels", "windows", "seconds", "us a pixel", "peak MB"):
        table.add_column(heading, justify="right")
    for kind, rows in result.items():
        for n, (pixels, seconds) in enumerate(zip(rows["pixels"], rows["seconds"], strict=True)):
            peak = f"{rows['peak_mb']:.0f}" if n == len(rows["pixels"]) - 1 else ""
            cells = f"{pixels:,}", f"{rows['windows'][n]:,}", f"{seconds:.3f}", f"{1e6 * seconds / pixels:.2f}", peak
            table.add_row(kind, *cells)
        table.add_section()
    return table


def plot_scaling(result: dict[str, Any], path: Path) -> None:
    """Draws seconds against pixels, and n log n through the first point of each kind, into an image file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for colour, (kind, rows) in zip(("tab:blue", "tab:green"), result.items(), strict=True):
        pixels, seconds = np.array(rows["pixels"]), np.array(rows["seconds"])
        bound = pixels * np.log(pixels)
        label = {"enlarged": "a photograph, enlarged", "mosaic": "a mosaic of photographs"}[kind]
        axes.plot(pixels / 1e6, seconds, "o-", color=colour, label=label)
        axes.plot(pixels / 1e6, seconds[0] * bound / bound[0], ":", color=colour, label="n log n from its first point")
    axes.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds an image, all cores")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(which="both", alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
