"""A small world in memory for the tests of training, and slow plain oracles."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from spp_det.boxes import encode
from spp_det.structures import Boxes, Proposals, Target
from spp_det.training import Windows, make_windows


def random_boxes(rng: np.random.Generator, count: int, side: float = 100) -> Boxes:
    corner = rng.uniform(0, side - 20, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 20, (count, 2))], axis=1).astype(np.float32)


def jittered(rng: np.random.Generator, boxes: Boxes, times: int, amount: float) -> Boxes:
    moved = (np.repeat(boxes, times, axis=0) + rng.normal(0, amount, (len(boxes) * times, 4))).clip(0, 120)
    return np.concatenate([moved[:, :2], np.maximum(moved[:, 2:], moved[:, :2] + 4)], axis=1).astype(np.float32)


class World:
    """A WindowSource: windows around random objects, whose vectors tell what they overlap and how they are shifted.

    The vector of a box is a random but fixed function of its overlap with each class and its offset to its object.
    """

    def __init__(
        self,
        images: int = 12,
        num_classes: int = 3,
        dim: int = 24,
        seed: int = 0,
        objects: tuple[int, int] = (1, 4),
        absent: tuple[int, ...] = (),
        num_scales: int = 3,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.num_classes = num_classes
        self.num_scales = num_scales
        self._dim = dim
        self._mix = rng.normal(0, 1, (num_classes + 5, dim))
        self._frequencies = rng.uniform(1, 50, (4, dim))
        self.targets: list[Target] = []
        self.proposals: list[Proposals] = []
        self.calls: list[tuple[int, bool, np.ndarray | None]] = []
        present = [label for label in range(num_classes) if label not in absent]
        for _ in range(images):
            boxes = random_boxes(rng, int(rng.integers(*objects, endpoint=True)) if present else 0)
            labels = rng.choice(present, len(boxes)) if present else np.zeros(0, int)
            near = jittered(rng, boxes, 6, 2.0)
            far = jittered(rng, boxes, 8, 7.0)
            self.targets.append(Target(boxes, labels, np.zeros(len(boxes), bool)))
            self.proposals.append(Proposals(np.concatenate([near, far, random_boxes(rng, 20)])))

    def __len__(self) -> int:
        return len(self.targets)

    def windows(self, index: int) -> Windows:
        return make_windows(self.targets[index], self.proposals[index], self.num_classes)

    def pooled(self, index, boxes, *, flipped=False, scale_indices=None) -> np.ndarray:
        self.calls.append((index, flipped, scale_indices))
        return self.features(index, boxes, "pool5")

    def features(self, index: int, boxes: Boxes, layer: str) -> np.ndarray:
        seen = make_windows(self.targets[index], Proposals(boxes), self.num_classes)
        seen_boxes = slice(len(self.targets[index]), None)
        told = np.concatenate(
            [
                seen.overlaps[seen_boxes],
                encode(boxes, seen.matched[seen_boxes]),
                np.ones((len(boxes), 1)),
            ],
            axis=1,
        )
        # sums, not matrix products: a vector's bits must not depend on what else is asked for
        plain = (told[:, :, None] * self._mix).sum(axis=1)
        noise = np.sin((boxes[:, :, None] * self._frequencies).sum(axis=1))
        return np.maximum(plain + 0.05 * noise, 0).astype(np.float32)

    def cell_ids(self, index: int, boxes: Boxes) -> np.ndarray | None:
        return None

    def dim(self, layer: str) -> int:
        return self._dim


class TinyHead(nn.Module):
    """fc6, fc7 and fc8 with dropout, as small as it gets."""

    def __init__(self, dim: int, num_classes: int, hidden: int = 16, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = dropout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.fc6 = nn.Linear(dim, hidden)
            self.fc7 = nn.Linear(hidden, hidden)
            self.fc8 = nn.Linear(hidden, num_classes + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.fc6, self.fc7):
            x = nn.functional.dropout(layer(x).relu(), self.dropout, self.training)
        return self.fc8(x)

    def bytes(self) -> bytes:
        return b"".join(value.detach().numpy().tobytes() for value in self.parameters())


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = float(width) * float(height)
    areas = [float(c[2] - c[0]) * float(c[3] - c[1]) for c in (a, b)]
    return shared / (sum(areas) - shared)


def plain_hinge_svm(
    features: np.ndarray, positive: np.ndarray, cost: float, positive_weight: float, bias: float, steps: int = 3000
) -> tuple[np.ndarray, float]:
    """The SVM by coordinate ascent on the dual in float64, visiting the examples in order, to convergence."""
    x = np.concatenate([features.astype(np.float64), np.full((len(features), 1), bias)], axis=1)
    y = np.where(positive, 1.0, -1.0)
    most = np.where(positive, positive_weight * cost, cost)
    alpha = np.zeros(len(x))
    w = np.zeros(x.shape[1])
    squares = (x * x).sum(axis=1)
    for _ in range(steps):
        largest = 0.0
        for i in range(len(x)):
            new = min(max(alpha[i] - (y[i] * (w @ x[i]) - 1) / squares[i], 0.0), most[i])
            w += (new - alpha[i]) * y[i] * x[i]
            largest = max(largest, abs(new - alpha[i]))
            alpha[i] = new
        if largest < 1e-8:
            break
    return w[:-1], w[-1] * bias


def plain_mining(world: World, svms, settings, cells: dict[int, list[int]] | None = None) -> tuple[list, list]:
    """Mining as a loop over single windows: (hyperplane of each class, events), trained by svms.fit_one.

    cells: under the "released" rule, a number per window of each image; windows with a number seen before are dropped.
    """
    num_classes = world.num_classes

    def features(image: int) -> np.ndarray:
        return world.features(image, world.windows(image).boxes, "fc7") * np.float32(svms.scale_)

    positives = [[] for _ in range(num_classes)]
    for image in range(len(world)):
        for vector, label in zip(features(image), world.targets[image].labels, strict=False):
            positives[label].append(vector)
    cache = [[] for _ in range(num_classes)]  # of (image, window, vector, its dual variable)
    own_duals = [[0.0] * len(vectors) for vectors in positives]
    planes = [None] * num_classes
    added = [0] * num_classes
    events = []
    steps = [image for _ in range(settings.passes) for image in range(len(world))]
    for number, image in enumerate(steps):
        windows, vectors = world.windows(image), features(image)
        for label in range(num_classes):
            if not positives[label]:
                continue
            taken = []  # (score, window)
            for window in range(len(windows)):
                negative = all(
                    plain_iou(windows.boxes[window], box) < settings.negative_overlap
                    for box, other in zip(world.targets[image].boxes, world.targets[image].labels, strict=True)
                    if other == label
                )
                plane = planes[label]
                score = 0.0 if plane is None else float(vectors[window] @ plane.weights + plane.intercept)
                if negative and (plane is None or score > settings.hard_margin):
                    taken.append((score, window))
            held = [window for of_image, window, _, _ in cache[label] if of_image == image]
            kept = []
            if settings.near_duplicates == "paper":
                for _, window in sorted(taken, key=lambda pair: -pair[0]):
                    others = [windows.boxes[other] for other in [*kept, *held]]
                    if all(plain_iou(windows.boxes[window], o) <= settings.duplicate_overlap for o in others):
                        kept.append(window)
            else:
                numbers = cells[image]
                kept = [w for _, w in taken if numbers[w] not in numbers[:w] and w not in held]
            cache[label] += [(image, window, vectors[window], 0.0) for window in sorted(kept)]
            added[label] += len(kept)
            last = number == len(steps) - 1
            if added[label] > settings.retrain_after or (planes[label] is None and added[label]) or last:
                count = len(positives[label])
                both = np.array(positives[label] + [vector for _, _, vector, _ in cache[label]])
                duals = np.array(own_duals[label] + [dual for _, _, _, dual in cache[label]])
                planes[label] = plane = svms.fit_one(both, np.arange(len(both)) < count, duals)
                own_duals[label] = list(duals[:count])
                before = len(cache[label])
                cache[label] = [
                    (*c[:3], dual)
                    for c, dual in zip(cache[label], duals[count:], strict=True)
                    if c[2] @ plane.weights + plane.intercept >= settings.evict_margin
                ]
                events.append((image, label, len(positives[label]), before, added[label], before - len(cache[label])))
                added[label] = 0
    return planes, events
