"""How fast `pool_windows` is, beside a memory copy of its output and beside torchvision's RoI pooling."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torchvision.ops import roi_pool

from spp_det.pooling import pool_windows, vector_length
from spp_det.structures import Size


def time_pooling(
    map_size: Size = (42, 56),
    channels: int = 256,
    num_windows: int = 2000,
    levels: Sequence[int] = (1, 2, 3, 6),
    repeats: int = 15,
    seed: int = 0,
) -> dict[str, Any]:
    """Seconds, medians of `repeats`; the defaults are those of AlexNet at a short side of 688.

    The windows are random, from 2 cells a side to the whole map. Pooling writes into memory that it wrote before, and
    so does the copy. roi_pool is called once a level, as it has one output size, and rounds its bins otherwise.
    Returns {"pool_s", "copy_s", "roi_pool_s", "pool_over_copy", "roi_pool_over_pool", "windows", "threads"}.
    """
    rng = np.random.default_rng(seed)
    height, width = map_size
    feature_map = rng.standard_normal((height, width, channels), np.float32).transpose(2, 0, 1)
    low = rng.integers(0, [width - 1, height - 1], (num_windows, 2))
    high = rng.integers(low + 1, [width, height])
    windows = np.concatenate([low, high], axis=1)
    out = np.empty((num_windows, vector_length(channels, levels)), np.float32)
    source = np.ones_like(out)
    tensor = torch.from_numpy(np.ascontiguousarray(feature_map))[None]
    rois = torch.cat([torch.zeros(num_windows, 1), torch.from_numpy(windows).float()], dim=1)

    copy_s, pool_s = _medians(
        repeats,
        lambda: np.copyto(out, source),
        lambda: pool_windows(feature_map, windows, levels, out=out),
    )
    # By itself: its threads keep a core busy for some milliseconds after each call.
    (roi_pool_s,) = _medians(repeats, lambda: [roi_pool(tensor, rois, n) for n in levels])
    return {
        "pool_s": pool_s,
        "copy_s": copy_s,
        "roi_pool_s": roi_pool_s,
        "pool_over_copy": pool_s / copy_s,
        "roi_pool_over_pool": roi_pool_s / pool_s,
        "windows": num_windows,
        "threads": torch.get_num_threads(),
    }


def _medians(repeats: int, *sides: Callable[[], Any]) -> list[float]:
    """Median seconds of each side, the sides in turn; the first round warms up."""
    seconds: list[list[float]] = [[] for _ in sides]
    for repeat in range(repeats + 1):
        for run, own in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            run()
            if repeat:
                own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in seconds]


def pooling_table(result: dict[str, Any]) -> Table:
    """The result of `time_pooling` as a table to print."""
    table = Table(title=f"{result['windows']} windows, {result['threads']} threads", title_justify="left")
    table.add_column("")
    table.add_column("ms", justify="right")
    table.add_column("over the copy", justify="right")
    titles = {"copy_s": "memory copy of the output", "pool_s": "pool_windows", "roi_pool_s": "torchvision roi_pool"}
    for key, title in titles.items():
        table.add_row(title, f"{1000 * result[key]:.1f}", f"{result[key] / result['copy_s']:.1f}x")
    return table
