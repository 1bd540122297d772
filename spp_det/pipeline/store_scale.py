"""The store with as many images as a large data set has: seconds and memory of a start, of writing, and of `status`."""

from __future__ import annotations

import io
import multiprocessing
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from rich.table import Table

from spp_det.config import config_from
from spp_det.datasets.voc import VOC_CLASSES
from spp_det.datasets.voc_annotations import annotation_xml
from spp_det.files import write_json
from spp_det.pipeline.plan import TRAINING
from spp_det.pipeline.store import Store
from spp_det.pipeline.training import Run
from spp_det.structures import Target
from spp_det.tooling import format_bytes, format_seconds, track

SIDE = 16  # px of the images
WINDOWS, MAP = 50, (4, 4, 16)  # of an image: the windows, and the map's height, width and channels
READ = 1000  # images that are read back, from all over
SAMPLE_SECONDS = 0.02
WRITE_TITLE, START_TITLE = "write windows and maps", "start, all unchanged"


def measure_store(folder: Path, count: int) -> dict[str, Any]:
    """Make a data set of so many small images in a folder, and windows and tiny maps of each in a store beside it.

    Every step runs in a process of its own. Returns, by step, "seconds", "processor" seconds, over all threads, which
    another load of the machine hardly changes, and "memory", the most bytes that the process took beyond what it had
    once the package was imported; and of `status` the seconds of the whole command.
    """
    make_images(folder / "data" / "VOC2007", count)
    steps = {"first start, all images read": _start, WRITE_TITLE: _fill, START_TITLE: _start, "status": _status}
    result: dict[str, Any] = {"images": count}
    for title, step in steps.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result[title] = pool.apply(_measured, (step, folder))
    command = [sys.executable, "-m", "spp_det.cli", "status", str(folder / "run")]
    begin, before = time.perf_counter(), _processor_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, processor = time.perf_counter() - begin, _processor_seconds(resource.RUSAGE_CHILDREN) - before
    result["status, with starting Python"] = {"seconds": seconds, "processor": processor, "memory": 0}
    result["files"] = sum(1 for path in (folder / "store").rglob("*") if path.is_file())
    result["bytes"] = sum(path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file())
    return result


def make_images(folder: Path, count: int) -> None:
    """A data set in VOC's form: `count` images to train on, each with one object, and two to test on; kept if there."""
    lists = folder / "ImageSets" / "Main"
    ids = [f"{number:06d}" for number in range(count + 2)]
    if (lists / "test.txt").is_file() and len((lists / "trainval.txt").read_text().split()) == count:
        return
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    PillowImage.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(stream, "JPEG", quality=50)
    target = Target(np.array([[2, 2, 10, 12]]), np.array([0]), np.array([False]))
    pattern = annotation_xml("NAME.jpg", (SIDE, SIDE), target, ["CLASS"])
    for number, image_id in enumerate(track(ids, "images")):
        class_name = VOC_CLASSES[number % len(VOC_CLASSES)]
        xml = pattern.replace(b"NAME", image_id.encode()).replace(b"CLASS", class_name.encode())
        (folder / "JPEGImages" / f"{image_id}.jpg").write_bytes(stream.getvalue() + image_id.encode())
        (folder / "Annotations" / f"{image_id}.xml").write_bytes(xml)
    (lists / "trainval.txt").write_text("\n".join(ids[:count]))
    (lists / "test.txt").write_text("\n".join(ids[count:]))


def store_table(result: dict[str, Any]) -> Table:
    """The figures as a table to print."""
    files = f"{result['files']} files, {format_bytes(result['bytes'])}"
    table = Table(title=f"{result['images']:,} images; the store has {files}", title_justify="left")
    for heading in ("step", "time", "processor time", "memory"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for title, facts in result.items():
        if isinstance(facts, dict):
            times = (format_seconds(facts[name]) for name in ("seconds", "processor"))
            table.add_row(title, *times, format_bytes(facts["memory"]) if facts["memory"] else "")
    return table


def _measured(step: Callable[[Path], None], folder: Path) -> dict[str, float]:
    with _most_memory() as memory:
        begin, before = time.perf_counter(), _processor_seconds(resource.RUSAGE_SELF)
        step(folder)
        seconds, processor = time.perf_counter() - begin, _processor_seconds(resource.RUSAGE_SELF) - before
    return {"seconds": seconds, "processor": processor, "memory": memory[0]}


def _processor_seconds(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


@contextmanager
def _most_memory() -> Iterator[list[float]]:
    """The most bytes that this process takes of its own in the block, beyond those that it has when it begins."""
    before, most, ended = _own_bytes(), [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            most[0] = max(most[0], _own_bytes() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()
        most[0] = max(most[0], _own_bytes() - before)


def _own_bytes() -> int:
    """What is in memory without the files that are mapped into it, such as the libraries."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _run(folder: Path) -> Run:
    """What a training knows before its first stage begins."""
    table = {
        "data": {"root": str(folder / "data")},
        "maps": {"scales": [SIDE]},
        "finetune": {"hidden": [16, 16], "flip": False},
    }
    config = config_from(table, "the configuration")
    run = Run(config, Store(folder / "store"), skip_bad=False)
    write_json(folder / "run" / TRAINING, run.started_with())
    return run


def _start(folder: Path) -> None:
    """All that comes before the first image is worked on, and some images' maps and windows read."""
    run = _run(folder)
    stages = [run.plan["proposals"], run.plan["maps"]]
    for stage in stages:
        there = stage.names()
        for image_id in run.split.ids[:: max(1, len(run.split.ids) // READ)] if there else ():
            stage.read(image_id)


def _fill(folder: Path) -> None:
    run, rng = _run(folder), np.random.default_rng(0)
    boxes = rng.integers(1, 30, (WINDOWS, 4)).cumsum(axis=1).astype(np.float32)
    arrays: dict[str, dict[str, np.ndarray]] = {
        "proposals": {"boxes": boxes},
        "maps": {"map0": rng.random(MAP).astype(np.float16)},
    }
    for title, content in arrays.items():
        stage = run.plan[title]
        for image_id in stage.missing(run.split.ids):
            stage.write(image_id, content)
        stage.finish(run.split.ids)


def _status(folder: Path) -> None:
    from spp_det.pipeline.status import run_status

    run_status(folder / "run")
