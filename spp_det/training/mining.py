"""SVMs with hard-negative mining: one pass over the images, in their order (spp_train.m of the release)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import nms

from spp_det.boxes import iou
from spp_det.errors import SppDetError
from spp_det.parallel import available_cores
from spp_det.structures import Boxes, Mask
from spp_det.training.checkpoint import read_state, write_state
from spp_det.training.negatives import NegativeCache
from spp_det.training.source import Progress, Vectors, Windows, WindowSource, count_classes, silent
from spp_det.training.svm import Hyperplane, LinearSVMs, feature_norm

MiningLog = list[dict[str, Any]]


@dataclass(frozen=True)
class SvmSettings:
    """How the SVMs are trained; the first four are those of `LinearSVMs`.

    negative_overlap: a negative of a class overlaps every object of it by less.
    hard_margin: a negative is hard, and taken, above it. evict_margin: after a training those below are dropped.
    retrain_after: a class is trained again when more negatives than this were added to it.
    passes: how many times the images are gone through.
    near_duplicates: "paper" drops a negative that overlaps another of its class and image by more than
    duplicate_overlap (P4 section 4.1), "released" only one that pools the same cells as another
    (spp_features_convX_to_poolX.m).
    checkpoint_every: images between two checkpoints. seed: of the solver; norm_seed: of the windows for the mean norm.
    """

    C: float = 0.001
    positive_weight: float = 2.0
    bias: float = 10.0
    target_norm: float = 20.0
    negative_overlap: float = 0.3
    hard_margin: float = -1.0001
    evict_margin: float = -1.2
    retrain_after: int = 2000
    passes: int = 1
    near_duplicates: Literal["paper", "released"] = "paper"
    duplicate_overlap: float = 0.7
    checkpoint_every: int = 200
    seed: int = 0
    norm_seed: int = 3


def train_svms(
    source: WindowSource,
    layer: str,
    settings: SvmSettings,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> tuple[LinearSVMs, MiningLog]:
    """Mine and train; returns the SVMs and the log, one entry for each training of a class and each class left out.

    Where the file `checkpoint` exists the run goes on from there and ends in the same bytes. Raises SppDetError where
    no class has an object, or where the checkpoint is broken or another run's.
    """
    svms = LinearSVMs(settings.C, settings.positive_weight, settings.bias, settings.target_norm, seed=settings.seed)
    miner = _Miner(source, layer, settings, svms)
    steps = settings.passes * len(source)
    for step in range(miner.resume(checkpoint), steps):
        miner.visit(step % len(source), last=step == steps - 1)
        if checkpoint and ((step + 1) % settings.checkpoint_every == 0 or step == steps - 1):
            miner.save(checkpoint, step + 1)
        progress(step + 1, steps)
    return svms.assemble(miner.planes), miner.log


@dataclass(frozen=True, eq=False)
class SvmMemory:
    """What the SVM of one class was trained on, so that more examples can join it later.

    positives: float32 [P, D], negatives: float32 [N, D], scaled; duals: float64 [P + N], where the solver ended.
    """

    positives: Vectors
    negatives: Vectors
    duals: npt.NDArray[np.float64]

    @classmethod
    def of_negatives(cls, negatives: Vectors) -> SvmMemory:
        """Negatives to begin with, scaled, float32 [N, D]."""
        return cls(np.zeros((0, negatives.shape[1]), np.float32), negatives, np.zeros(len(negatives)))


def train_class(
    source: WindowSource,
    layer: str,
    settings: SvmSettings,
    scale: float,
    memory: SvmMemory | None = None,
    progress: Progress = silent,
) -> tuple[Hyperplane, SvmMemory, MiningLog]:
    """Mine and train the SVM of one class, by the rules of `train_svms`, over features of a given scale.

    source: images whose windows know one class. memory: examples of before, with which it begins.
    Raises SppDetError where neither the images nor the memory has an object.
    """
    svms = LinearSVMs(settings.C, settings.positive_weight, settings.bias, settings.target_norm, seed=settings.seed)
    miner = _Miner(source, layer, settings, svms, scale, memory)
    if memory is not None:
        miner.begin_with(memory)
    steps = settings.passes * len(source)
    for step in range(steps):
        miner.visit(step % len(source), last=step == steps - 1)
        progress(step + 1, steps)
    learnt = SvmMemory(miner.positives[0], miner.cache.features(0), miner.duals[0])
    return miner.planes[0], learnt, miner.log


class _Miner:
    """The state of mining: the classes' hyperplanes, the negatives so far, the log."""

    def __init__(
        self,
        source: WindowSource,
        layer: str,
        settings: SvmSettings,
        svms: LinearSVMs,
        scale: float | None = None,
        memory: SvmMemory | None = None,
    ) -> None:
        self.source = source
        self.layer = layer
        self.settings = settings
        self.svms = svms
        self.num_classes = count_classes(source)
        svms.scale_ = scale or settings.target_norm / feature_norm(source, layer, settings.norm_seed)
        self.positives = self._gather_positives()
        if memory is not None:
            self.positives = [np.concatenate([memory.positives, *self.positives])]
        self.learnable = [label for label, features in enumerate(self.positives) if len(features)]
        if not self.learnable:
            raise SppDetError(f"cannot train SVMs: there is no object in the {len(source)} training images")
        self.planes = [Hyperplane.none(source.dim(layer)) for _ in range(self.num_classes)]
        self.trained = np.zeros(self.num_classes, bool)
        self.added = np.zeros(self.num_classes, np.int64)  # negatives since the class was trained last
        self.cache = NegativeCache(source.dim(layer), self.num_classes)
        self.duals = [np.zeros(len(features)) for features in self.positives]  # of positives and negatives, so far
        self.log: MiningLog = [
            {"event": "no positives", "class": label}
            for label in range(self.num_classes)
            if label not in self.learnable
        ]

    def begin_with(self, memory: SvmMemory) -> None:
        """Take the negatives of before, under no image's number, and train; for a source of one class."""
        everything = np.ones((len(memory.negatives), 1), bool)
        self.added += self.cache.add(len(self.source), memory.negatives, everything)
        self.duals = [
            np.insert(memory.duals, len(memory.positives), np.zeros(len(self.duals[0]) - len(memory.positives)))
        ]
        if len(memory.negatives):
            self.train([0], image=-1)

    def visit(self, image: int, last: bool) -> None:
        """Add the hard negatives of an image, and train the classes that are due: after the last image, all."""
        self._collect(image)
        due = (self.added > self.settings.retrain_after) | (~self.trained & (self.added > 0)) | last
        self.train([label for label in self.learnable if due[label]], image)

    def train(self, labels: list[int], image: int) -> None:
        """Train classes on their positives and all their negatives, then drop the negatives that became easy."""
        with ThreadPoolExecutor(available_cores(), "svm") as pool:
            fitted = list(pool.map(self._fit, labels))
        for label, (plane, kept, figures) in zip(labels, fitted, strict=True):
            self.log.append({"event": "train", "image": image, "class": label, **figures})
            self.cache.keep(label, kept)
            self.planes[label] = plane
            self.trained[label] = True
            self.added[label] = 0

    def _fit(self, label: int) -> tuple[Hyperplane, Mask, dict[str, Any]]:
        """(The SVM of a class, which of its negatives to keep, what the log tells); begins where it last ended."""
        positives, negatives = self.positives[label], self.cache.features(label)
        features = np.concatenate([positives, negatives])
        positive = np.arange(len(features)) < len(positives)
        duals = np.zeros(len(features))
        duals[: len(self.duals[label])] = self.duals[label]
        plane = self.svms.fit_one(features, positive, duals)
        kept = plane.scores(negatives) >= self.settings.evict_margin
        self.duals[label] = np.concatenate([duals[positive], duals[~positive][kept]])
        figures = {
            "positives": len(positives),
            "negatives": len(negatives),
            "added": int(self.added[label]),
            "evicted": int((~kept).sum()),
            "objective": self.svms.objective(plane, features, positive),
            "converged": plane.converged,
        }
        return plane, kept, figures

    def _collect(self, image: int) -> None:
        windows = self.source.windows(image)
        if not len(windows) or not windows.exhaustive:
            return
        features = self._scaled(image, windows.boxes)
        chosen, scores = self._hard(windows, features)
        self._drop_near_duplicates(image, windows.boxes, chosen, scores)
        self.added += self.cache.add(image, features, chosen)

    def _hard(self, windows: Windows, features: Vectors) -> tuple[npt.NDArray[np.bool_], Vectors]:
        """Which windows are hard negatives of which class, bool [N, K], and the scores, float32 [N, K].

        For a class that was not trained yet every negative is hard.
        """
        weights = np.stack([plane.weights for plane in self.planes])
        scores = features @ weights.T + np.array([plane.intercept for plane in self.planes], np.float32)
        scores[:, ~self.trained] = 0
        hard = (windows.overlaps < self.settings.negative_overlap) & (scores > self.settings.hard_margin)
        unlearnable = np.setdiff1d(np.arange(self.num_classes), self.learnable)
        hard[:, unlearnable] = False
        return hard, scores

    def _drop_near_duplicates(self, image: int, boxes: Boxes, chosen: npt.NDArray[np.bool_], scores: Vectors) -> None:
        """Clear the entries of `chosen`, [N, K], that lie too near to another; of two the harder stays."""
        if self.settings.near_duplicates == "released":
            chosen &= _first_of_each(self.source.cell_ids(image, boxes), boxes)[:, None]
            return
        held = self.cache.holds(image, len(boxes))
        for label in np.flatnonzero(chosen.any(axis=0)):
            windows = np.flatnonzero(chosen[:, label])
            limit = self.settings.duplicate_overlap
            kept = nms(torch.from_numpy(boxes[windows]), torch.from_numpy(scores[windows, label]), limit).numpy()
            windows = windows[kept]
            if held[:, label].any():
                windows = windows[(iou(boxes[windows], boxes[held[:, label]]) <= limit).all(axis=1)]
            chosen[:, label] = False
            chosen[windows, label] = True

    def _gather_positives(self) -> list[Vectors]:
        """The scaled features of the ground truth of each class: float32 [n, D] each."""
        dim = self.source.dim(self.layer)
        found: list[list[Vectors]] = [[np.zeros((0, dim), np.float32)] for _ in range(self.num_classes)]
        for image in range(len(self.source)):
            windows = self.source.windows(image)
            if not windows.is_truth.any():
                continue
            features = self._scaled(image, windows.boxes[windows.is_truth])
            labels = windows.labels[windows.is_truth]
            for label in np.unique(labels):
                found[label].append(features[labels == label])
        return [np.concatenate(parts) for parts in found]

    def _scaled(self, image: int, boxes: Boxes) -> Vectors:
        return self.source.features(image, boxes, self.layer) * np.float32(self.svms.scale_)

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint after so many images."""
        arrays = {
            "weights": np.stack([plane.weights for plane in self.planes]),
            "intercepts": np.array([plane.intercept for plane in self.planes]),
            "trained": self.trained,
            "added": self.added,
            "duals": np.concatenate(self.duals),
            "dual_lengths": np.array([len(duals) for duals in self.duals]),
        }
        write_state(path, arrays | self.cache.state(), {"settings": self._identity(), "step": step, "log": self.log})

    def resume(self, path: Path | None) -> int:
        """Take up a checkpoint; returns the images that were done, 0 where there is none."""
        if path is None or not path.exists():
            return 0
        arrays, state = read_state(path, self._identity())
        pairs = zip(arrays["weights"], arrays["intercepts"].tolist(), strict=True)
        self.planes = [Hyperplane(weights, intercept) for weights, intercept in pairs]
        self.trained = arrays["trained"]
        self.added = arrays["added"]
        self.duals = np.split(arrays["duals"], np.cumsum(arrays["dual_lengths"])[:-1])
        self.cache = NegativeCache.from_state(arrays)
        self.log = state["log"]
        return state["step"]

    def _identity(self) -> dict[str, Any]:
        shape = {"images": len(self.source), "classes": self.num_classes, "dim": self.source.dim(self.layer)}
        return asdict(self.settings) | shape | {"layer": self.layer}


def _first_of_each(cells: npt.NDArray[np.int64] | None, boxes: Boxes) -> Mask:
    """Which windows are the first of those with the same cells, or the same box where the cells are not known."""
    _, first = np.unique(boxes if cells is None else cells, axis=0, return_index=True)
    mask = np.zeros(len(boxes), bool)
    mask[first] = True
    return mask
