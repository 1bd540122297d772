"""Linear SVMs on whole-image vectors, as scikit-learn estimators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin

from spp_det.classification.protocols import mean_ap
from spp_det.parallel import available_cores, map_ordered
from spp_det.training.svm import Hyperplane, LinearSVMs

Vectors = npt.NDArray[np.float32]


class OneVsRestSVM(ClassifierMixin, BaseEstimator):
    """A linear SVM a class against all others; the highest margin wins.

    Parameters
    ----------
    C: the weight of the hinge loss; the paper's is 1 (P1 section 3.2), for vectors of length 1.
    bias: the constant feature beside the others, whose weight is regularised with theirs.
    tol, max_iter, seed: of the solver, see `LinearSVMs`.

    Attributes
    ----------
    classes_: [K], sorted. coef_: float32 [K, D]. intercept_: float32 [K].
    """

    def __init__(
        self,
        C: float = 1.0,  # noqa: N803 - its name everywhere
        bias: float = 1.0,
        tol: float = 0.01,
        max_iter: int = 1000,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.bias = bias
        self.tol = tol
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X: Vectors, y: npt.ArrayLike) -> Self:  # noqa: N803
        """Learn from vectors [N, D] and the class of each [N]."""
        self.classes_, labels = np.unique(y, return_inverse=True)
        presence = np.where(labels[:, None] == np.arange(len(self.classes_)), 1, -1)
        self.coef_, self.intercept_ = _fit_each(self, X, presence)
        return self

    def decision_function(self, X: Vectors) -> Vectors:  # noqa: N803
        """Margins float32 [N, K], of two classes too."""
        return np.asarray(X, np.float32) @ self.coef_.T + self.intercept_

    def predict(self, X: Vectors) -> npt.NDArray[Any]:  # noqa: N803
        """The class of each vector: [N]."""
        return self.classes_[self.decision_function(X).argmax(1)]


class MultiLabelSVM(BaseEstimator):
    """A linear SVM a class, of which an image may show several, or none.

    Parameters and attributes are those of `OneVsRestSVM`, but for classes_. Labels are 1 (shown), -1 (not) and 0 (left
    out in learning and in testing: VOC's difficult).
    """

    def __init__(
        self,
        C: float = 1.0,  # noqa: N803
        bias: float = 1.0,
        tol: float = 0.01,
        max_iter: int = 1000,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.bias = bias
        self.tol = tol
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X: Vectors, y: npt.NDArray[np.int8]) -> Self:  # noqa: N803
        """Learn from vectors [N, D] and labels [N, K] of 1, -1 and 0."""
        if np.ndim(y) != 2 or not np.isin(y, (-1, 0, 1)).all():
            raise ValueError(f"labels are [N, K] of 1, -1 and 0, not {list(np.shape(y))}")
        self.coef_, self.intercept_ = _fit_each(self, X, np.asarray(y))
        return self

    def decision_function(self, X: Vectors) -> Vectors:  # noqa: N803
        """Margins float32 [N, K]."""
        return np.asarray(X, np.float32) @ self.coef_.T + self.intercept_

    def predict(self, X: Vectors) -> npt.NDArray[np.int8]:  # noqa: N803
        """Labels of 1 and -1: int8 [N, K]."""
        return np.where(self.decision_function(X) > 0, 1, -1).astype(np.int8)

    def score(self, X: Vectors, y: npt.NDArray[np.int8]) -> float:  # noqa: N803
        """The mean over the classes of VOC2007's average precision, in [0, 1]."""
        return mean_ap(y, self.decision_function(X))


def _fit_each(svm: OneVsRestSVM | MultiLabelSVM, vectors: Vectors, presence: np.ndarray) -> tuple[Vectors, Vectors]:
    """The hyperplanes of all columns of `presence` [N, K]: float32 [K, D] and [K], by as many threads as cores."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(presence) or not len(vectors):
        raise ValueError(f"{list(vectors.shape)} vectors for {len(presence)} labels")
    solver = LinearSVMs(svm.C, 1.0, svm.bias, tol=svm.tol, max_iter=svm.max_iter, seed=svm.seed)

    def fit(column: np.ndarray) -> Hyperplane:
        used = column != 0
        return solver.fit_one(vectors if used.all() else vectors[used], column[used] > 0)

    planes = list(map_ordered(fit, presence.T, available_cores(), ahead=0))
    return np.stack([plane.weights for plane in planes]), np.array([plane.intercept for plane in planes], np.float32)
