"""How good a detector of one class is after how much time, for spp_det and for torchvision's Faster R-CNN.

Both learn the same images over the same pretrained trunk and are tested on the same others. The time of spp_det counts
all from the photographs to a saved detector, that of Faster R-CNN all from the photographs to its weights; the time of
tests counts for neither. Every point is written as it comes, and a run that was stopped goes on from there.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from spp_det.config import config_from, config_to_dict
from spp_det.datasets import Dataset, recognise
from spp_det.detection import Detector
from spp_det.errors import ConfigError
from spp_det.evaluation.faster_rcnn_training import PeerSettings, PeerTraining
from spp_det.evaluation.one_class import learning_ids, one_class, precisions, testing_ids
from spp_det.files import read_json, write_json
from spp_det.networks import Trunk
from spp_det.networks.lite0 import lite0
from spp_det.pipeline.choosing import choose, count_objects
from spp_det.pipeline.training import say, train
from spp_det.structures import Detections, Image
from spp_det.tooling import progress

OURS, THEIRS = "spp_det", "Faster R-CNN"
VARIANTS: dict[str, tuple[str, ...]] = {  # what `choose` says, and changes of it
    "as chosen": (),
    "one scale": ("detect.scales=[]",),
    "no votes": ("detect.vote=false",),
    "not standardised": ("svm.standardise=false",),
    "R-CNN's SVMs": (
        "svm.standardise=false",
        "svm.flip=false",
        "svm.positive_weight=2.0",
        "detect.vote=false",
        "detect.nms_overlap=0.3",
        "detect.scales=[]",
    ),
    "fc7, fine-tuned": ("svm.layer=fc7",),
    "fc7, standardised, factors": ("svm.layer=fc7", "finetune.standardise=true", "finetune.rank=[128, 128]"),
}
PEERS: dict[str, PeerSettings] = {
    "frozen trunk": PeerSettings(frozen=None),
    "frozen trunk, 10 epochs": PeerSettings(frozen=None, epochs=10),
    "frozen trunk, rate 0.03": PeerSettings(frozen=None, rate=0.03),
    "frozen trunk, 480 px": PeerSettings(frozen=None, short_side=480),
    "stages 6 and 7 learn": PeerSettings(frozen=7, epochs=10, bfloat16=False),
    "stages 6 and 7 learn, 5 epochs": PeerSettings(frozen=7, epochs=5, bfloat16=False),
    "stages 6 and 7 learn, 480 px": PeerSettings(frozen=7, short_side=480, epochs=10, bfloat16=False),
    "stages 3 to 7 learn": PeerSettings(frozen=4, epochs=10, bfloat16=False),
    "all layers learn": PeerSettings(frozen=0, epochs=10, bfloat16=False),
}
TESTED_AFTER = (0.25, 0.5, 0.75, 1.0)  # of a peer's epochs

Part = Callable[[], Iterator[None]]


@dataclass(frozen=True)
class Seconds:
    """Time on the wall's clock, and that of all processors, of processes that have ended too."""

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> Seconds:
        """The two clocks."""
        return cls(time.perf_counter(), sum(os.times()[:4]))

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


class Race:
    """The points of one data set and number of images, some of which an earlier run may have measured.

    learn, test: one class each. folder: for what is kept between two runs. points: see `measure`. found: called with
    each new point. trunk: what the peers stand on. overrides: of all of spp_det's configurations.
    """

    def __init__(
        self,
        learn: Dataset,
        test: Dataset,
        folder: Path,
        points: Sequence[dict[str, Any]],
        found: Callable[[dict[str, Any]], None],
        trunk: Callable[[], Trunk],
        overrides: Sequence[str] = (),
    ) -> None:
        self.learn, self.test, self.folder = learn, test, folder
        self.points, self.found, self.trunk, self.overrides = points, found, trunk, overrides

    def ours(self, name: str, changes: Sequence[str]) -> Iterator[None]:
        """One variant of spp_det, what is chosen with some changes: one point."""
        if self._has(OURS, name, "all"):
            return
        out = self.folder / "spp_det"
        shutil.rmtree(out, ignore_errors=True)  # what a stopped run left is not timed: it starts again
        begin = Seconds.now()
        own = [*self.overrides, *changes]
        table = {"data": {"root": "images of one class"}, **choose(count_objects(self.learn), own).settings}
        config = config_from(table, name, own)
        train(config, out / "run", out / "store", dataset=self.learn)
        spent = Seconds.now() - begin
        stages = {title: stage["seconds"] for title, stage in read_json(out / "run" / "run.json")["stages"].items()}
        detector = Detector.load(out / "run")
        self._point(OURS, name, "all", spent, detector.detect, {"stages": stages, "config": config_to_dict(config)})
        shutil.rmtree(out)
        yield

    def theirs(self, name: str, settings: PeerSettings) -> Iterator[None]:
        """One setting of Faster R-CNN: a point after each of some epochs, and a stop after every epoch."""
        tested = {max(1, round(part * settings.epochs)) for part in TESTED_AFTER}
        if self._has(THEIRS, name, f"epoch {settings.epochs}"):
            return
        begin = Seconds.now()
        training = PeerTraining(self.trunk(), self.learn, settings)
        training.look()
        spent = Seconds.now() - begin
        checkpoint = self.folder / f"{name}.safetensors"
        if checkpoint.exists():  # then it has looked already, in the time that it had spent
            spent = Seconds(**training.resume(checkpoint))
        while training.epochs_done < settings.epochs:
            begin = Seconds.now()
            with progress(f"Faster R-CNN, {name}, epoch {training.epochs_done + 1}") as show:
                training.epoch(show)
            spent += Seconds.now() - begin
            epoch = training.epochs_done
            if epoch in tested:
                more = {"epoch": epoch, "loss": training.losses[-1], "settings": asdict(settings)}
                self._point(THEIRS, name, f"epoch {epoch}", spent, training.detect, more)
            if epoch == settings.epochs:
                checkpoint.unlink(missing_ok=True)
            else:
                training.save(checkpoint, asdict(spent))
            yield

    def _has(self, side: str, name: str, step: str) -> bool:
        return any((each["side"], each["name"], each["step"]) == (side, name, step) for each in self.points)

    def _point(
        self,
        side: str,
        name: str,
        step: str,
        spent: Seconds,
        detect: Callable[[Image], Detections],
        more: Mapping[str, Any],
    ) -> None:
        if self._has(side, name, step):
            return
        detections = {}
        with progress(f"testing {side}, {name}") as show:
            for done, image_id in enumerate(self.test.ids, 1):
                detections[image_id] = detect(self.test.image(image_id))
                show(done, len(self.test.ids))
        ap = precisions(self.test, detections)
        say(f"{side}, {name}, {step}: {spent.wall:.0f} s, {spent.cpu:.0f} s of cores, AP {100 * ap['11point']:.1f}")
        facts = {"side": side, "name": name, "step": step, "wall_s": spent.wall, "cpu_s": spent.cpu, "ap": ap}
        self.found({**facts, **more})


def open_sets(data: Path, name: str, counts: Sequence[int], tests: int) -> dict[int, tuple[Dataset, Dataset]]:
    """By number of images, those of a class to learn from, and those to test on; see evaluation/one_class.py.

    Raises DataError for what is no data set or has too few images of the class, ConfigError for an unknown class.
    """
    found = recognise(data)
    learn, test = found.dataset(found.train), found.dataset(found.test)
    tested = one_class(test, name, testing_ids(test, name, tests))
    return {count: (one_class(learn, name, learning_ids(learn, name, count)), tested) for count in counts}


def learnable_trunk() -> Trunk:
    """The default trunk with its weights, as Faster R-CNN learns it best."""
    return lite0(folded=False)


def measure(
    path: Path,
    setup: Mapping[str, Any],
    sets: Mapping[int, tuple[Dataset, Dataset]],
    folder: Path,
    trunk: Callable[[], Trunk] = learnable_trunk,
    minutes: float = float("inf"),
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    variants: Mapping[str, Sequence[str]] = VARIANTS,
    peers: Mapping[str, PeerSettings] = PEERS,
) -> dict[str, Any]:
    """Measure what is missing in a JSON file of points, and return what is in it.

    setup: of JSON's types, what the points rest on. sets: by number of images, (to learn from, to test on).
    folder: for what is kept between two runs. minutes: after these no further step is begun. only: names of `variants`
    and `peers`; none: all. overrides: settings of spp_det that go before those of its variants. The parts of a set take
    turns, so that a machine's other work hits all alike.

    Returns {"setup", "machine", "points": [{"side", "name", "step", "images", "wall_s", "cpu_s", "ap": {"11point",
    "area"}, ..}]}. Raises ConfigError for a file of another setup and an unknown name.
    """
    unknown = [name for name in only if name not in {**variants, **peers}]
    if unknown:
        raise ConfigError(f"there is no {unknown[0]!r}; there is {', '.join([*variants, *peers])}")
    result: dict[str, Any] = {"setup": dict(setup), "machine": _machine(), "points": []}
    if path.exists():
        result = read_json(path)
        if result.get("setup") != result["setup"] | dict(setup):
            raise ConfigError(f"{path}: was measured with another setup; remove it, or name another file")
    end = time.monotonic() + 60 * minutes
    for images, (learn, test) in sets.items():

        def found(point: dict[str, Any], images: int = images) -> None:
            result["points"].append({"images": images, **point})
            write_json(path, result)

        known = [point for point in result["points"] if point["images"] == images]
        race = Race(learn, test, folder / str(images), known, found, trunk, overrides)
        parts = [race.ours(name, changes) for name, changes in variants.items() if not only or name in only]
        parts += [race.theirs(name, settings) for name, settings in peers.items() if not only or name in only]
        _take_turns(parts, end)
    return result


def _take_turns(parts: list[Iterator[None]], end: float) -> None:
    while parts:
        for part in list(parts):
            if time.monotonic() >= end:
                return
            try:
                next(part)
            except StopIteration:
                parts.remove(part)


def _machine() -> dict[str, Any]:
    cpu = torch.cpu.get_capabilities().get("cpu_name", platform.processor())
    return {"processor": cpu, "threads": torch.get_num_threads(), "torch": torch.__version__}
