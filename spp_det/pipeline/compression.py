"""Compress a trained run into a new one beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from spp_det.datasets import open_dataset
from spp_det.detection import Detector
from spp_det.detection.bundle import load_detector
from spp_det.detection.compression import Compression, compress_detector, draw_windows
from spp_det.errors import DataError
from spp_det.evaluation.timing import Seconds, time_sides, without_proposals
from spp_det.files import read_json, write_json
from spp_det.networks import LowRankLinear
from spp_det.parallel import available_cores
from spp_det.pipeline.plan import run_digest
from spp_det.pipeline.testing import METHODS, evaluate_run
from spp_det.tooling import console, progress
from spp_det.trust import load_run_config

TIMED_IMAGES = 3


def compress_run(
    run: Path,
    out: Path,
    settings: Compression,
    data: str | None = None,
    images: int = 1200,
    windows: int = 2000,
    tested: bool = True,
) -> dict[str, Any]:
    """Compress the detector of a run for its own training images, write it, and print size, speed and mAP of both.

    data: the data set's folder, in place of the one that was trained on; images: of the training images, evenly spread,
    that the layers are compressed for; windows: of an image while timing. tested: whether both look at the images to
    test on, which takes by far the longest; stopped there, the same call goes on. Returns what is printed.
    Raises DataError where `out` is the run itself or holds another detector, and what loading and compressing raise.
    """
    torch.set_num_threads(available_cores())
    made = json.loads(json.dumps({"images": images, **asdict(settings)}))  # tuples are lists there
    if (out / "detector.json").exists() and not _is_made(out, run, made):
        raise DataError(out, "holds a detector already: name a new folder")
    replaced = {"data__root": data} if data else {}
    detector = load_detector(run, **replaced)
    settings.check(detector)
    config = load_run_config(run, **replaced)
    dataset = open_dataset(config.data, config.data.train)
    if tested:
        open_dataset(config.data, config.data.test)  # is it there, before any work
    chosen = dataset.ids[:: max(1, len(dataset.ids) // images)][:images]
    if _is_made(out, run, made):
        small = load_detector(out, **replaced)
    else:
        with progress("drawing windows") as show:
            pixels, count = map(dataset.image, chosen), len(chosen)
            drawn = draw_windows(detector, pixels, count, settings, progress=lambda done: show(done, count))
        small = compress_detector(detector, settings, drawn)
        source = {"compressed_from": str(run), "detector": run_digest(run), "compression": made}
        write_json(out / "run.json", {"store": read_json(run / "run.json")["store"], **source})
        small.save(out)  # last, since its detector.json says that all is there
    timed = [(image_id, dataset.image(image_id)) for image_id in chosen[:TIMED_IMAGES]]
    with progress("timing") as show:
        both = {"before": detector, "after": small}
        seconds = time_sides(timed, both, windows, dict.fromkeys(both, 3), show)
    result = {"before": _facts(run, detector, seconds["before"]), "after": _facts(out, small, seconds["after"])}
    if tested:
        for side, folder in (("before", run), ("after", out)):
            console.print(f"{side}: {folder}", soft_wrap=True, markup=False)
            metrics = evaluate_run(folder, data=data)
            result[side]["map"] = metrics[METHODS[config.evaluate.method]]["map"]
    console.print(_table(result))
    return result


def _is_made(out: Path, run: Path, made: dict[str, Any]) -> bool:
    """Whether `out` holds what these settings make of the run."""
    return is_compressed_from(out, run) and read_json(out / "run.json").get("compression") == made


def is_compressed_from(out: Path, run: Path) -> bool:
    """Whether `out` holds what `compress_run` made of the detector that `run` holds now."""
    if not (out / "detector.json").exists() or not (out / "run.json").exists():
        return False
    return read_json(out / "run.json").get("detector") == run_digest(run)


def _facts(run: Path, detector: Detector, seconds: Seconds) -> dict[str, Any]:
    head = detector.regions.head
    layers = {name: getattr(head, name) for name in ("fc6", "fc7")}
    ranks = [fc.rank if isinstance(fc, LowRankLinear) else min(fc.weight.shape) for fc in layers.values()]
    return {
        "bytes": sum(path.stat().st_size for path in run.glob("*.safetensors")),
        "fc_weights": sum(weight.numel() for fc in layers.values() for weight in fc.parameters()),
        "ranks": ranks,
        "fc_s": seconds["fc_s"],
        "without_proposals_s": without_proposals(seconds),
    }


def _table(result: dict[str, Any]) -> Table:
    before, after = result["before"], result["after"]
    table = Table()
    for heading in ("", "before", "after", "ratio"):  # of mAP: the difference
        table.add_column(heading, justify="right" if heading else "left")
    lines = {
        "weights of the run, MB": ("bytes", 1e-6, "{:.1f}"),
        "weights of fc6, fc7, millions": ("fc_weights", 1e-6, "{:.2f}"),
        "fc6, fc7, s an image": ("fc_s", 1.0, "{:.3f}"),
        "without proposals, s an image": ("without_proposals_s", 1.0, "{:.3f}"),
    }
    table.add_row("ranks of fc6, fc7", *(", ".join(map(str, side["ranks"])) for side in (before, after)), "")
    for title, (key, factor, form) in lines.items():
        values = (form.format(side[key] * factor) for side in (before, after))
        table.add_row(title, *values, f"{before[key] / after[key]:.1f}x")
    if "map" in before:
        maps = [100 * side["map"] for side in (before, after)]
        table.add_row("mAP, %", *(f"{value:.1f}" for value in maps), f"{maps[1] - maps[0]:+.1f}")
    return table
