"""Probabilities for scores: what share of the detections of such a margin is right.

Platt's scaling (*Probabilistic outputs for support vector machines*, 1999), p = 1 / (1 + exp(a s + b)) for each class,
fitted by Newton's method as Lin, Lin and Weng describe it (*A note on Platt's probabilistic outputs*, 2007).
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from spp_det.structures import Labels, Mask, Scores

Sigmoid = npt.NDArray[np.float64]  # (a, b)
LEAST = 10  # right and wrong detections that a class needs for a sigmoid of its own


class Calibration:
    """A sigmoid for each class, from margins to probabilities.

    Attributes
    ----------
    sigmoids_: float64 [K, 2], a and b of each class. shared_: float64 [2], of all classes together, which classes of
    too few held-out detections, and classes that are added later, use.
    """

    def __init__(self) -> None:
        self.sigmoids_: Sigmoid
        self.shared_: Sigmoid

    def fit(self, scores: Scores, labels: Labels, right: Mask, num_classes: int) -> Self:
        """Learn from detections of images that were not trained on.

        scores: float32 [N]; labels: int64 [N]; right: bool [N], whether each found an object of its class that no
        better one had found. Raises ValueError where not one is right, or not one is wrong.
        """
        if right.all() or not right.any():
            raise ValueError("a calibration needs detections that are right, and some that are wrong")
        self.shared_ = fit_sigmoid(scores, right)
        rows = []
        for label in range(num_classes):
            own = labels == label
            enough = min(int((own & right).sum()), int((own & ~right).sum())) >= LEAST
            sigmoid = fit_sigmoid(scores[own], right[own]) if enough else self.shared_
            rows.append(sigmoid if sigmoid[0] < 0 else self.shared_)  # a better score is never less likely right
        self.sigmoids_ = np.stack(rows)
        return self

    def probabilities(self, scores: Scores, labels: Labels) -> npt.NDArray[np.float32]:
        """Of detections: scores float32 [N] and labels int64 [N] to float32 [N] in [0, 1]."""
        slope, offset = self.sigmoids_[labels].T
        return _sigmoid(slope * scores + offset).astype(np.float32)

    def with_class(self, label: int) -> Calibration:
        """The same with the shared sigmoid for one class, its own or a new last one."""
        changed = Calibration()
        changed.shared_ = self.shared_
        changed.sigmoids_ = np.concatenate([self.sigmoids_[:label], self.shared_[None], self.sigmoids_[label + 1 :]])
        return changed

    def select(self, stay: Mask) -> Calibration:
        """The same without some classes, stay bool [K]."""
        changed = Calibration()
        changed.shared_, changed.sigmoids_ = self.shared_, self.sigmoids_[stay]
        return changed

    def state(self) -> dict[str, np.ndarray]:
        """What was learnt, as arrays that go into a safetensors file."""
        return {"sigmoids": self.sigmoids_, "shared": self.shared_}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> Self:
        """Undo `state`. Raises KeyError for a missing array."""
        calibration = cls()
        calibration.sigmoids_, calibration.shared_ = state["sigmoids"], state["shared"]
        return calibration


def fit_sigmoid(scores: npt.NDArray[np.floating], right: Mask, steps: int = 100) -> Sigmoid:
    """The (a, b) of greatest likelihood, float64 [2], with targets a little within 0 and 1, as Platt has them.

    scores: [N]; right: bool [N], both kinds present.
    """
    margins = scores.astype(np.float64)
    good, bad = int(right.sum()), int((~right).sum())
    targets = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))
    rows = np.stack([margins, np.ones_like(margins)], axis=1)
    found = np.array([0.0, np.log((bad + 1) / (good + 1))])
    loss = _loss(rows @ found, targets)
    for _ in range(steps):
        chances = _sigmoid(rows @ found)
        gradient = rows.T @ (targets - chances)
        if np.abs(gradient).max() < 1e-8 * len(rows):
            break
        curvature = (rows * (chances * (1 - chances))[:, None]).T @ rows + 1e-12 * np.eye(2)
        step = -np.linalg.solve(curvature, gradient)
        length = 1.0
        while (
            length > 1e-10 and _loss(rows @ (found + length * step), targets) > loss + 1e-4 * length * gradient @ step
        ):
            length /= 2
        found = found + length * step
        loss = _loss(rows @ found, targets)
    return found


def _sigmoid(exponents: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(x)) without overflow."""
    return np.exp(-np.logaddexp(0.0, exponents))


def _loss(exponents: npt.NDArray[np.float64], targets: npt.NDArray[np.float64]) -> float:
    """Minus the logarithm of the likelihood."""
    return float((targets * exponents + np.logaddexp(0.0, -exponents)).sum())
