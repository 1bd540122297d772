"""How much a run will write into the store, before it writes anything."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping

from spp_det.errors import DataError
from spp_det.pipeline.split import Split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.regions import RegionExtractor, SPPRegions
from spp_det.tooling import format_bytes

WINDOWS = 2000  # of an image, about as many as selective search gives
HEADER = 600  # bytes around the arrays of an image of up to five maps, and its line in the index
BOX = 16  # bytes
HALF = 2  # bytes of a float16
WAYS_OUT = "maps.keep = false keeps no maps; --store names another disk; spp-det cache prune clears this one"


def expected_bytes(
    plan: Mapping[str, StageFolder], split: Split, regions: RegionExtractor, max_windows: int | None
) -> dict[str, int]:
    """What each stage of a plan, by title, will still write of the images; stages that are done write nothing.

    Exact for the values of maps; of proposals and of vectors as many windows an image are assumed as there may be, at
    most WINDOWS.
    """
    windows = min(max_windows or WINDOWS, WINDOWS)
    images = len(split.ids)
    left = {}
    for title, stage in plan.items():
        if stage.done:
            continue
        if stage.stage == "proposals":
            total = images * (windows * BOX + HEADER)
        elif stage.stage == "vectors":
            total = images * (windows * (BOX + HALF * regions.dim(stage.settings["vectors"]["layer"])) + HEADER)
        elif stage.stage == "maps" and isinstance(regions, SPPRegions):
            total = sum(HALF * regions.map_cells(size) + HEADER for size in split.sizes.values())
        else:
            continue
        left[title] = max(0, total - stage.packs.bytes())
    return left


def check_space(
    store: Store,
    plan: Mapping[str, StageFolder],
    split: Split,
    regions: RegionExtractor,
    max_windows: int | None,
    say: Callable[[str], None],
) -> None:
    """Say in a line what the stages of a plan will write, if anything. Raises DataError where the disk is too full."""
    left = expected_bytes(plan, split, regions, max_windows)
    total = sum(left.values())
    if not total:
        return
    parts = ", ".join(f"{title} {format_bytes(count)}" for title, count in left.items())
    there = next(folder for folder in (store.root, *store.root.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if total > free:
        has = f"the disk has {format_bytes(free)} free"
        raise DataError(store.root, f"this run needs about {format_bytes(total)} ({parts}), {has}: {WAYS_OUT}")
    say(f"the store will take about {format_bytes(total)} ({parts}), of {format_bytes(free)} free")
