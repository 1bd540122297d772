"""98 views pooled from the maps of six scales, beside the same views cut out and convolved one by one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from rich.table import Table

from spp_det.classification.config import ClassificationConfig, FoldersConfig, TestingConfig
from spp_det.classification.network import SPPClassifier, build_classifier
from spp_det.classification.views import Plan, ViewClassifier, plan_views
from spp_det.config import TrunkConfig
from spp_det.structures import Image
from spp_det.watch import Clock, Watch

STAGES = {"trunk": "convolutions", "pooling": "pooling", "fc": "fc6, fc7, softmax"}


def untrained(trunk: str, num_classes: int = 1000) -> SPPClassifier:
    """A network of the paper's sizes on this trunk; the time of its layers does not depend on their weights."""
    config = ClassificationConfig(data=FoldersConfig(root="."), trunk=TrunkConfig(trunk, "random", "torchvision"))
    return build_classifier(config, [str(label) for label in range(num_classes)]).eval()


def time_views(
    network: SPPClassifier,
    images: Sequence[Image],
    repeats: int = 1,
    progress: Callable[[int, int], None] | None = None,
    clock: Clock = time.perf_counter,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Seconds an image of each stage, medians over images and repeats; the two sides take turns. dtype: of products.

    Returns {"maps": {"trunk", "pooling", "fc", "total", "passes", "pixels"}, "crops": {..}, "speedup", "bound",
    "images"}. passes, pixels: what went through the trunk, for the last image; bound: how many times more pixels the
    crops have, which the speedup cannot pass but by the way in which a processor likes large images better.
    """
    if not images or repeats < 1:
        raise ValueError("timing needs an image and a run at least")
    testing = TestingConfig()
    on_map = plan_views("98", testing)
    plans: dict[str, Plan] = {"maps": on_map, "crops": replace(on_map, on_map=False)}
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in plans}
    for plan in plans.values():  # compiles kernels, fills caches
        first = replace(plan, scales=testing.scales[:1])
        ViewClassifier(network, testing.view, dtype).probabilities(images[0], first)
    for number, image in enumerate(images):
        for repeat in range(repeats):
            for side in list(plans) if (number + repeat) % 2 == 0 else list(plans)[::-1]:
                looker = ViewClassifier(network, testing.view, dtype, Watch(clock))
                looker.probabilities(image, plans[side])
                runs[side].append(looker.watch.seconds | {"passes": looker.passes, "pixels": looker.pixels})
        if progress:
            progress(number + 1, len(images))
    maps, crops = (_summary(runs[side]) for side in ("maps", "crops"))
    return {
        "maps": maps,
        "crops": crops,
        "speedup": crops["total"] / maps["total"],
        "bound": crops["pixels"] / maps["pixels"],
        "images": len(images),
    }


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    medians = {stage: statistics.median(run.get(stage, 0.0) for run in runs) for stage in STAGES}
    return medians | {"total": sum(medians.values()), "passes": runs[-1]["passes"], "pixels": runs[-1]["pixels"]}


def views_table(result: dict[str, Any]) -> Table:
    """The result of `time_views` as a table to print."""
    maps, crops = result["maps"], result["crops"]
    table = Table(title=f"seconds an image, median of {result['images']}")
    for heading in ("", "98 views on maps", "98 crops", "crops / maps"):
        table.add_column(heading, justify="right" if heading else "left")
    for stage, title in [*STAGES.items(), ("total", "total")]:
        ours, theirs = maps[stage], crops[stage]
        table.add_row(title, f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}x" if ours and theirs else "")
    return table


def views_line(result: dict[str, Any]) -> str:
    """What the table comes to."""
    maps, crops = result["maps"], result["crops"]
    return (
        f"98 views on maps are {result['speedup']:.1f}x faster than 98 crops: {maps['passes']} passes of the trunk "
        f"over {maps['pixels'] / 1e6:.1f} million pixels, beside {crops['passes']} over "
        f"{crops['pixels'] / 1e6:.1f} million, {result['bound']:.1f} times as many"
    )
