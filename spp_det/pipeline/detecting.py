"""Look at pictures and videos with a trained detector, print what is there, and write it in the forms asked for."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spp_det.datasets import open_dataset
from spp_det.detection import Detector
from spp_det.detection.stream import windows_ahead
from spp_det.errors import DataError, SppDetError
from spp_det.parallel import available_cores
from spp_det.pipeline.pictures import Frame, Source, count_frames, find_sights, find_sources
from spp_det.pipeline.saving import SAVERS, Saver, describe
from spp_det.structures import Detections, Proposals
from spp_det.tooling import console, counted, notes, progress
from spp_det.trust import load_run_config

FEW = 20  # images up to which starting other processes takes longer than they save


@dataclass(frozen=True)
class Looking:
    """How `detect_files` looks, and what it writes.

    min_score: SVM margins below it are left out; min_probability: likewise, of a calibrated detector. Without both the
    detector's `usual_threshold` is taken.
    save: keys of SAVERS; out: the folder they write to.
    every: of a video look at each so-manieth frame. as_json: print a line of JSON an image in place of words.
    workers: processes that read pictures and make their windows; None: one for each core but one, and none for FEW
    images or less. What is found does not depend on it.
    """

    min_score: float | None = None
    min_probability: float | None = None
    save: Sequence[str] = ("drawn",)
    out: Path = Path("found")
    every: int = 1
    as_json: bool = False
    workers: int | None = None


def detect_files(run: Path, words: Sequence[str], looking: Looking, exported: bool = False) -> int:
    """Detect in what the words name (see `find_sources`); returns 0, or 1 where a file could not be read.

    Such a file is named on standard error, and the others are looked at all the same. exported: `run` is a folder that
    `Detector.export` wrote; torch is not imported then. Raises DataError for a word that names nothing, two files that
    would be written to one, and a run that is not whole, WorkerError where a process dies, with the picture's name.
    """
    sources = find_sources(words)
    if looking.save:
        _check_names(sources, looking.out)
    detector = Detector.load_onnx(run) if exported else _load(run)
    threshold = {"min_score": looking.min_score, "min_probability": looking.min_probability}
    if looking.min_score is None and looking.min_probability is None:
        threshold |= detector.usual_threshold
    savers: list[Saver] = [SAVERS[name](looking.out) for name in looking.save]
    found, done = Counter[str](), 0
    faults: list[str] = []
    with progress("detecting") as show:
        total = _count(sources, looking.every)
        for frame, windows in _frames(detector, sources, looking, total, faults):
            detections = detector.detect(frame.image, windows, **threshold)
            _say(frame, detections, looking.as_json)
            found.update(detections.names)
            for saver in savers:
                saver.add(frame, detections)
            done += 1
            show(done, max(total, done))
        if done:
            for saver in savers:
                saver.close()
    if savers and done:
        said = f"{counted(done, 'image')}, {counted(found.total(), 'object')}; see {looking.out}"
        notes.print(said, soft_wrap=True, markup=False)
    return int(bool(faults))


def _load(run: Path) -> Detector:
    import torch  # not for an exported detector

    torch.set_num_threads(available_cores())
    return Detector.load(run)


def _count(sources: Sequence[Source], every: int) -> int:
    """How many images there are, as far as the videos can be opened; those that cannot are told in their turn."""
    total = 0
    for source in sources:
        with contextlib.suppress(DataError):
            total += count_frames([source], every)
    return total


def _frames(
    detector: Detector, sources: Sequence[Source], looking: Looking, total: int, faults: list[str]
) -> Iterator[tuple[Frame, Proposals]]:
    """Each image with its windows; what cannot be read is told on standard error, and goes to `faults`."""
    workers = looking.workers
    if workers is None:
        workers = max(1, available_cores() - 1) if total > FEW else 0
    for sight, look in windows_ahead(detector.proposals, find_sights(sources, looking.every), workers):
        try:
            image, boxes = look()
        except DataError as fault:
            if fault.path != sight.source.shown:
                raise  # not the picture's fault
            faults.append(str(fault))
            print(f"error: {fault}", file=sys.stderr)
            continue
        yield sight.frame(image), Proposals(boxes)


def split_pictures(run: Path, split: str, images: int) -> list[str]:
    """The files of the first `images` images of a split of a run's data set."""
    dataset = open_dataset(load_run_config(run).data, split)
    return [str(dataset.image_path(image_id)) for image_id in dataset.ids[:images]]


def _check_names(sources: Sequence[Source], out: Path) -> None:
    stems = Counter(source.stem for source in sources)
    twice = [stem for stem, count in stems.items() if count > 1]
    if twice:
        raise DataError(out, f"two of the pictures have one name, {twice[0]}, and would be written into one file")
    written = {(out / f"{source.stem}.jpg").resolve() for source in sources}
    for source in sources:
        if Path(source.name).resolve() in written:
            raise SppDetError(f"{source.name}: lies in {out}, where it would be overwritten; name another folder")


def _say(frame: Frame, detections: Detections, as_json: bool) -> None:
    if as_json:
        print(json.dumps(describe(frame, detections), ensure_ascii=False), flush=True)
        return
    found = ", ".join(f"{name} {score:.2f}" for _, score, name in detections) or "nothing"
    moment = "" if frame.seconds is None else f" at {frame.seconds:.2f} s"
    console.print(f"{frame.source.name}{moment}: {found}", soft_wrap=True, markup=False)
