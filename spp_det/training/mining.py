"""Mining hard negatives: one pass over the images, in their order (spp_train.m of the release)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import nms

from spp_det.boxes import iou
from spp_det.errors import SppDetError
from spp_det.parallel import available_cores
from spp_det.products import multiply
from spp_det.structures import Boxes, Mask
from spp_det.threads import one_blas_thread
from spp_det.training.negatives import NegativeCache
from spp_det.training.positives import by_class, find_truths
from spp_det.training.source import Progress, Vectors, Windows, WindowSource, count_classes, silent
from spp_det.training.svm import Hyperplane, LinearSVMs

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

    def svms(self, scale: float) -> LinearSVMs:
        """SVMs that are to be trained, over features of a scale."""
        svms = LinearSVMs(self.C, self.positive_weight, self.bias, self.target_norm, seed=self.seed)
        svms.scale_ = scale
        return svms


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
    """Mine and train the SVM of one class, by the rules of all, over features of a given scale.

    source: images whose windows know one class. memory: examples of before, with which it begins.
    Raises SppDetError where neither the images nor the memory has an object.
    """
    truths = find_truths(source)
    vectors = (source.features(each.image, each.boxes, layer) * np.float32(scale) for each in truths)
    positives = by_class(truths, vectors, count_classes(source), source.dim(layer))
    if memory is not None:
        positives = [np.concatenate([memory.positives, *positives])]
    if not len(positives[0]):
        raise SppDetError(f"cannot train SVMs: there is no object in the {len(source)} training images")
    miner = Miner(source, layer, settings, settings.svms(scale), positives)
    if memory is not None:
        miner.begin_with(memory)
    for step in range(miner.steps):
        miner.visit(step, last=step == miner.steps - 1)
        progress(step + 1, miner.steps)
    learnt = SvmMemory(miner.positives[0], miner.cache.features(0), miner.duals[0])
    return miner.planes[0], learnt, told([miner.log])


class Miner:
    """The state of mining: the hyperplanes of some classes, their negatives so far, the log.

    svms: with their scale; positives: of each class, float32 [n, D], none where it is not to be learnt.
    begin: int64 [K], the step at which each class begins, see `visit`; a class knows nothing of the others.
    """

    def __init__(
        self, source: WindowSource, layer: str, settings: SvmSettings, svms: LinearSVMs, positives: list[Vectors]
    ) -> None:
        self.source = source
        self.layer = layer
        self.settings = settings
        self.svms = svms
        self.num_classes = len(positives)
        self.positives = positives
        self.learnable = [label for label, features in enumerate(positives) if len(features)]
        self.planes = [Hyperplane.none(source.dim(layer)) for _ in range(self.num_classes)]
        self.trained = np.zeros(self.num_classes, bool)
        self.added = np.zeros(self.num_classes, np.int64)  # negatives since the class was trained last
        self.begin = np.zeros(self.num_classes, np.int64)
        self.cache = NegativeCache(source.dim(layer), self.num_classes)
        self.duals = [np.zeros(len(features)) for features in positives]  # of positives and negatives, so far
        self.log: MiningLog = []

    @property
    def steps(self) -> int:
        """The images of all passes."""
        return self.settings.passes * len(self.source)

    def begin_with(self, memory: SvmMemory) -> None:
        """Take the negatives of before, under no image's number, and train; for a source of one class."""
        everything = np.ones((len(memory.negatives), 1), bool)
        self.added += self.cache.add(len(self.source), memory.negatives, everything)
        self.duals = [
            np.insert(memory.duals, len(memory.positives), np.zeros(len(self.duals[0]) - len(memory.positives)))
        ]
        if len(memory.negatives):
            self.train([0], step=-1)

    def visit(self, step: int, last: bool, take: Callable[[int], Vectors] | None = None) -> None:
        """Add the hard negatives of an image, and train the classes that are due: after the last image, all.

        step: the image's number, counted on through all passes. take: gives what `vectors` does.
        """
        windows = self.source.windows(step % len(self.source))
        features = self.vectors(step, windows) if take is None else take(step)
        here = self.begin <= step
        if len(features):
            self._collect(step % len(self.source), windows, features, here)
        due = (self.added > self.settings.retrain_after) | (~self.trained & (self.added > 0)) | last
        self.train([label for label in self.learnable if due[label] and here[label]], step)

    def vectors(self, step: int, windows: Windows | None = None) -> Vectors:
        """The scaled vectors of the windows of a step's image: float32 [N, D], of none where it has no negatives."""
        image = step % len(self.source)
        windows = self.source.windows(image) if windows is None else windows
        if not len(windows) or not windows.exhaustive:
            return np.zeros((0, self.source.dim(self.layer)), np.float32)
        return self.source.features(image, windows.boxes, self.layer) * np.float32(self.svms.scale_)

    def train(self, labels: list[int], step: int) -> None:
        """Train classes on their positives and all their negatives, then drop the negatives that became easy."""
        with one_blas_thread(), ThreadPoolExecutor(available_cores(), "svm") as pool:
            fitted = list(pool.map(self._fit, labels))
        for label, (plane, kept, figures) in zip(labels, fitted, strict=True):
            image = step % len(self.source) if step >= 0 else step
            self.log.append({"step": step, "event": "train", "image": image, "class": label, **figures})
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

    def _collect(self, image: int, windows: Windows, features: Vectors, here: Mask) -> None:
        chosen, scores = self._hard(windows, features)
        chosen[:, ~here] = False
        self._drop_near_duplicates(image, windows.boxes, chosen, scores)
        self.added += self.cache.add(image, features, chosen)

    def _hard(self, windows: Windows, features: Vectors) -> tuple[npt.NDArray[np.bool_], Vectors]:
        """Which windows are hard negatives of which class, bool [N, K], and the scores, float32 [N, K].

        For a class that was not trained yet every negative is hard.
        """
        weights = np.stack([plane.weights for plane in self.planes])
        scores = multiply(features, weights.T) + np.array([plane.intercept for plane in self.planes], np.float32)
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


def told(logs: Iterable[MiningLog], num_classes: int = 0, learnable: Sequence[int] = ()) -> MiningLog:
    """One log of several, in the order in which one process would have written it; first the classes left out."""
    entries = sorted(itertools.chain(*logs), key=lambda entry: (entry["step"], entry["class"]))
    trainings = [{key: value for key, value in entry.items() if key != "step"} for entry in entries]
    left_out = [label for label in range(num_classes) if label not in learnable]
    return [*({"event": "no positives", "class": label} for label in left_out), *trainings]


def _first_of_each(cells: npt.NDArray[np.int64] | None, boxes: Boxes) -> Mask:
    """Which windows are the first of those with the same cells, or the same box where the cells are not known."""
    _, first = np.unique(boxes if cells is None else cells, axis=0, return_index=True)
    mask = np.zeros(len(boxes), bool)
    mask[first] = True
    return mask
