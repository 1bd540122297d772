"""How whole-image classification is scored on Pascal VOC and on Caltech101."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.datasets import Dataset
from spp_det.errors import SppDetError
from spp_det.evaluation.voc import IGNORED, RIGHT, WRONG, Method, average_precision, evaluate_class

Presence = npt.NDArray[np.int8]  # [N, K]: 1 shown, -1 not, 0 difficult
Indices = npt.NDArray[np.int64]


def presence_of(dataset: Dataset) -> Presence:
    """Which classes each image shows: int8 [N, K].

    1 where there is an object of the class that is not difficult, 0 where all of them are, -1 where there is none: the
    flags of the devkit's files ImageSets/Main/CLASS_SPLIT.txt.
    """
    presence = np.full((len(dataset), len(dataset.class_names)), -1, np.int8)
    for row, image_id in zip(presence, dataset.ids, strict=True):
        target = dataset.target(image_id)
        row[target.labels[target.difficult]] = 0
        row[target.labels[~target.difficult]] = 1
    return presence


def class_ap(presence: Presence, scores: npt.NDArray[np.floating], method: Method = "11point") -> list[float]:
    """Average precision of each class as the devkit's VOCevalcls counts it: K fractions, nan for a class never shown.

    presence, scores: [N, K]. Images in which a class is difficult do not count for it. Equal scores count in order.
    """
    verdicts = np.select([presence == 1, presence == 0], [RIGHT, IGNORED], WRONG)
    curves = [
        evaluate_class(of_class, of_scores, int((of_class == RIGHT).sum()))
        for of_class, of_scores in zip(verdicts.T, scores.T, strict=True)
    ]
    return [
        average_precision(curve.recall, curve.precision, method) if curve.objects else float("nan") for curve in curves
    ]


def mean_ap(presence: Presence, scores: npt.NDArray[np.floating], method: Method = "11point") -> float:
    """The mean of `class_ap` over the classes that are shown; nan without any."""
    known = [ap for ap in class_ap(presence, scores, method) if not np.isnan(ap)]
    return float(np.mean(known)) if known else float("nan")


class PerClassSplits:
    """Caltech101's protocol as a splitter of scikit-learn, for its `cv` arguments.

    train: images of each class to learn from, drawn at random; test: at most so many of the others; splits: how often;
    seed: of the draws.
    """

    def __init__(self, train: int = 30, test: int = 50, splits: int = 10, seed: int = 0) -> None:
        if min(train, test, splits) < 1:
            raise ValueError("a split has an image to learn from and one to test on, and there is one at least")
        self.train, self.test, self.splits, self.seed = train, test, splits, seed

    def split(self, X: Any, y: npt.ArrayLike, groups: object = None) -> Iterator[tuple[Indices, Indices]]:  # noqa: N803
        """The indices to learn from and those to test on, ascending, of each split.

        Raises SppDetError for a class with too few images.
        """
        labels = np.asarray(y)
        for number in range(self.splits):
            rng = np.random.default_rng([self.seed, number])
            shuffled = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
            for members in shuffled:
                if len(members) <= self.train:
                    raise SppDetError(
                        f"class {labels[members[0]]} has {len(members)} images; "
                        f"{self.train} to learn from and one to test on need {self.train + 1}"
                    )
            yield (
                np.sort(np.concatenate([members[: self.train] for members in shuffled])),
                np.sort(np.concatenate([members[self.train : self.train + self.test] for members in shuffled])),
            )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: object = None) -> int:  # noqa: N803
        """How many splits."""
        return self.splits


def class_accuracy(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The mean over the classes of the share of their images that is right, in [0, 1].

    What Caltech101 asks for, where large classes are easy ones; the paper does not say which mean it takes.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))
