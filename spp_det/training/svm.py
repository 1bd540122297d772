"""One linear SVM per class, trained as the release does with liblinear (spp_train.m)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from spp_det.errors import SppDetError
from spp_det.processes import ALONE, Processes
from spp_det.products import multiply
from spp_det.structures import Mask
from spp_det.training.dual import solve_dual
from spp_det.training.source import Vectors, WindowSource

NO_SVM = -1e6  # the score everywhere of a class that nothing could be learnt of


@dataclass(frozen=True, eq=False)
class Hyperplane:
    """One class's SVM: weights float32 [D], intercept, and whether the solver reached its tolerance."""

    weights: npt.NDArray[np.float32]
    intercept: float
    converged: bool = True

    @classmethod
    def none(cls, dim: int) -> Hyperplane:
        """That of a class without any positive."""
        return cls(np.zeros(dim, np.float32), NO_SVM)

    def scores(self, features: Vectors) -> npt.NDArray[np.float32]:
        """Margins of scaled features [N, D]: float32 [N]."""
        return features @ self.weights + np.float32(self.intercept)


class LinearSVMs:
    """One linear SVM per class over features scaled to a mean norm.

    Parameters
    ----------
    C: the weight of the hinge loss. positive_weight: a positive's loss counts so many times.
    bias: the value of the constant feature beside the others, whose weight is regularised like theirs; 10 makes
    it cheap. target_norm: the mean norm that features are scaled to. tol, max_iter: of the solver, in liblinear's
    sense (whose own tol is 0.1). seed: of the order in which it visits the examples.

    Attributes
    ----------
    coef_: float32 [K, D], for scaled features. intercept_: float32 [K]. scale_: what features are multiplied by.
    A class without a positive has the coefficients 0 and the intercept NO_SVM.
    """

    def __init__(
        self,
        C: float = 0.001,  # noqa: N803 - its name everywhere
        positive_weight: float = 2.0,
        bias: float = 10.0,
        target_norm: float = 20.0,
        tol: float = 0.01,
        max_iter: int = 1000,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.positive_weight = positive_weight
        self.bias = bias
        self.target_norm = target_norm
        self.tol = tol
        self.max_iter = max_iter
        self.seed = seed
        self.coef_: npt.NDArray[np.float32]
        self.intercept_: npt.NDArray[np.float32]
        self.scale_: float

    def fit(self, features: Vectors, labels: npt.NDArray[np.int64], num_classes: int) -> Self:
        """Learn from vectors in memory, each class against all the others.

        features: float32 [N, D]; labels: int64 [N] in 0 .. K - 1, or -1 for background. There is no mining here;
        `train_svms` does that.
        """
        self.scale_ = self.target_norm / max(float(np.linalg.norm(features, axis=1).mean()), 1e-12)
        scaled = features * np.float32(self.scale_)
        return self.assemble([self.fit_one(scaled, labels == label) for label in range(num_classes)])

    def fit_one(self, features: Vectors, positive: Mask, duals: npt.NDArray[np.float64] | None = None) -> Hyperplane:
        """One class's SVM from features that are scaled already, [N, D], and which of them are positives, [N].

        Minimises 0.5 |w|^2 + 0.5 (b / bias)^2 + C sum of weight * max(0, 1 - y (w x + b)) in its dual. duals: float64
        [N], where to begin, and afterwards where it ended; zeros for examples that are new.
        With no positive there is no SVM; with no negative the side that all lie on is chosen, at a margin of 1.
        """
        if not positive.any():
            return Hyperplane.none(features.shape[1])
        if positive.all():
            return Hyperplane(np.zeros(features.shape[1], np.float32), 1.0)
        weights, bias_weight, _, converged = solve_dual(
            np.ascontiguousarray(features, np.float32),
            np.where(positive, 1, -1).astype(np.float32),
            np.where(positive, self.C * self.positive_weight, self.C),
            float(self.bias),
            np.zeros(len(features)) if duals is None else duals,
            self.tol,
            self.max_iter,
            self.seed,
        )
        return Hyperplane(weights, float(bias_weight * self.bias), converged)

    def objective(self, plane: Hyperplane, features: Vectors, positive: Mask) -> float:
        """What `fit_one` minimises, at a hyperplane."""
        margins = plane.scores(features).astype(np.float64)
        losses = np.where(positive, self.positive_weight * np.maximum(0, 1 - margins), np.maximum(0, 1 + margins))
        norm = float(np.square(plane.weights, dtype=np.float64).sum()) + (plane.intercept / self.bias) ** 2
        return 0.5 * norm + self.C * float(losses.sum())

    def assemble(self, planes: list[Hyperplane]) -> Self:
        """Take the classes' hyperplanes, in label order, as what was learnt."""
        self.coef_ = np.stack([plane.weights for plane in planes])
        self.intercept_ = np.array([plane.intercept for plane in planes], np.float32)
        return self

    def decision_function(self, features: Vectors) -> npt.NDArray[np.float32]:
        """Margins of unscaled features [N, D]: float32 [N, K], positive inside the class, unbounded."""
        margins = multiply(features, self.coef_.T)
        margins *= np.float32(self.scale_)
        margins += self.intercept_
        return margins

    def state(self) -> dict[str, np.ndarray]:
        """What was learnt and the parameters, as arrays that go into a safetensors file."""
        params = [self.C, self.positive_weight, self.bias, self.target_norm, self.tol, self.max_iter, self.seed]
        return {
            "params": np.array(params, np.float64),
            "coef": self.coef_,
            "intercept": self.intercept_,
            "scale": np.array(self.scale_, np.float64),
        }

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> Self:
        """Undo `state`. Raises KeyError for a missing array."""
        C, positive_weight, bias, target_norm, tol, max_iter, seed = state["params"].tolist()  # noqa: N806
        svms = cls(C, positive_weight, bias, target_norm, tol, int(max_iter), int(seed))
        svms.coef_ = state["coef"]
        svms.intercept_ = state["intercept"]
        svms.scale_ = float(state["scale"])
        return svms


def feature_norm(
    source: WindowSource,
    layer: str,
    seed: int = 3,
    max_images: int = 200,
    max_boxes: int = 200,
    here: Processes = ALONE,
) -> float:
    """The mean L2 norm of features over random images and random windows of them (spp_feature_stats.m).

    here: the processes that look at the images together. Raises SppDetError where there is no window, or every feature
    is zero.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for index in np.sort(rng.permutation(len(source))[:max_images]):
        boxes = source.windows(int(index)).boxes
        chosen = boxes[np.sort(rng.permutation(len(boxes))[:max_boxes])]
        if len(chosen):
            drawn.append((int(index), chosen))
    norms = here.share(lambda image: np.linalg.norm(source.features(*image, layer), axis=1).tolist(), drawn)
    mean = float(np.concatenate(norms).mean(dtype=np.float64)) if norms else 0.0
    if not mean:
        raise SppDetError(f"the training images have no window, or all features of {layer} are zero")
    return mean
