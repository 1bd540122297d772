"""The SVMs of all classes, by one process or by several, each of which mines for its share of the classes.

A class's SVM depends on the images and on no other class, so that the shares need not agree on anything. Only the
vectors of the windows are everybody's: see exchange.py.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spp_det.errors import SppDetError
from spp_det.processes import ALONE, Processes
from spp_det.training.exchange import Arrays, Exchange, hand_round
from spp_det.training.mining import Miner, MiningLog, SvmSettings, told
from spp_det.training.mining_state import resume, save
from spp_det.training.positives import Truths, by_class, find_truths
from spp_det.training.source import Progress, Vectors, WindowSource, count_classes, silent
from spp_det.training.svm import Hyperplane, LinearSVMs, feature_norm


def train_svms(
    source: WindowSource,
    layer: str,
    settings: SvmSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
    here: Processes = ALONE,
    exchange: bool = True,
) -> tuple[LinearSVMs, MiningLog]:
    """Mine and train; returns the SVMs and the log, one entry for each training of a class and each class left out.

    Where the file `checkpoint` exists the run goes on from there and ends in the same bytes, be it by another number of
    processes. here: the processes that share the classes; several need a checkpoint. exchange: whether they compute the
    vectors of an image once and pass them on, rather than each for itself.
    Raises SppDetError where no class has an object, or where the checkpoint is broken or another run's.
    """
    num_classes, truths = count_classes(source), find_truths(source)
    learnable = sorted({int(label) for each in truths for label in each.labels})
    if not learnable:
        raise SppDetError(f"cannot train SVMs: there is no object in the {len(source)} training images")
    svms = settings.svms(settings.target_norm / feature_norm(source, layer, settings.norm_seed, here=here))
    folder = _new_folder(checkpoint, here)
    vectors = _scaled_vectors(source, layer, truths, svms.scale_, folder, here)
    positives = by_class(truths, vectors, num_classes, source.dim(layer))
    for label in set(learnable).difference(learnable[here.rank :: here.world]):
        positives[label] = positives[label][:0]  # another process's
    miner = Miner(source, layer, settings, svms, positives)
    if checkpoint is not None:
        resume(miner, _parts(checkpoint))
        here.wait()
    walk = _walk(miner, here)
    shared = Exchange(miner.vectors, walk, folder, here) if exchange and here.store is not None else None
    own = _own_part(checkpoint, here)
    if own and here.store is not None and miner.begin.any():
        save(miner, own, walk.start)  # before a part that has more classes is overwritten
    for step in walk:
        last = step == walk.stop - 1
        miner.visit(step, last, None if shared is None else shared.take)
        if own and ((step + 1) % settings.checkpoint_every == 0 or last):
            save(miner, own, step + 1)
        progress(step + 1, walk.stop)
    logs = _gather(miner, folder, here)
    return svms.assemble(miner.planes), told(logs, num_classes, learnable)


def remove_checkpoints(checkpoint: Path) -> None:
    """Remove those of `train_svms`, once what it returned is kept."""
    for file in _parts(checkpoint):
        file.unlink()
    shutil.rmtree(_passed_on(checkpoint), ignore_errors=True)


def _scaled_vectors(
    source: WindowSource, layer: str, truths: Sequence[Truths], scale: float, folder: Path, here: Processes
) -> list[Vectors]:
    """The vectors of the objects of each image: float32 [n, D] each."""
    found: dict[str, Vectors] = {}
    for number in here.deal(range(len(truths))):
        each = truths[number]
        found[str(number)] = source.features(each.image, each.boxes, layer) * np.float32(scale)
    everybodys = {name: vectors for part in hand_round(found, folder, here) for name, vectors in part.items()}
    return [everybodys[str(number)] for number in range(len(truths))]


def _walk(miner: Miner, here: Processes) -> range:
    """The steps that are left for this process's classes; without any, for those of the others, to help them."""
    begins = here.gather(min(miner.begin[miner.learnable].tolist(), default=miner.steps))
    return range(begins[here.rank] if miner.learnable else min(begins), miner.steps)


def _gather(miner: Miner, folder: Path, here: Processes) -> list[MiningLog]:
    """Put the other processes' hyperplanes to this one's; returns the logs of all."""
    log = np.frombuffer(json.dumps(miner.log).encode(), np.uint8)
    labels = np.array(miner.learnable, np.int64)
    weights = np.stack([plane.weights for plane in miner.planes])[labels]
    intercepts = np.array([plane.intercept for plane in miner.planes])[labels]
    own: Arrays = {"labels": labels, "weights": weights, "intercepts": intercepts, "log": log}
    parts = hand_round(own, folder, here)
    for part in parts:
        for label, w, b in zip(part["labels"], part["weights"], part["intercepts"].tolist(), strict=True):
            if label not in miner.learnable:
                miner.planes[label] = Hyperplane(w, b)
    return [json.loads(part["log"].tobytes()) for part in parts]


def _new_folder(checkpoint: Path | None, here: Processes) -> Path:
    """The folder for what the processes pass on: another each time, so that none reads what those have left, or still
    write, that were killed or cut off.
    """
    if checkpoint is None:
        assert here.store is None, "several processes need a folder"
        return Path()
    folder = _passed_on(checkpoint)
    if here.first:
        shutil.rmtree(folder, ignore_errors=True)
    return folder / here.agree(lambda: secrets.token_hex(4))


def _passed_on(checkpoint: Path) -> Path:
    return checkpoint.with_name("passed_on")


def _own_part(checkpoint: Path | None, here: Processes) -> Path | None:
    """This process's checkpoint: of the first, or one that is alone, the very file."""
    if checkpoint is None or here.first:
        return checkpoint
    return checkpoint.with_name(f"{checkpoint.stem}.{here.rank}{checkpoint.suffix}")


def _parts(checkpoint: Path) -> list[Path]:
    """The checkpoints that there are, of one process or of several."""
    others = checkpoint.parent.glob(f"{checkpoint.stem}.[0-9]*{checkpoint.suffix}")
    return [file for file in (checkpoint, *sorted(others)) if file.exists()]
