"""The scores of linear SVMs on image features, to print."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from spp_det.classification.feature_files import Features
from spp_det.classification.protocols import PerClassSplits, class_accuracy, class_ap
from spp_det.classification.svm import MultiLabelSVM, OneVsRestSVM
from spp_det.errors import SppDetError
from spp_det.tooling import track


def score_table(svm: OneVsRestSVM | MultiLabelSVM, features: Features) -> Table:
    """Average precision of each class (11 points), or the share of each class's images that is right."""
    if isinstance(svm, MultiLabelSVM):
        title, heading = "average precision in %, 11 points", "AP"
        scores = class_ap(features.labels, svm.decision_function(features.vectors))
        counts = (features.labels == 1).sum(0).tolist()
    else:
        title, heading = "accuracy in %", "right"
        right = svm.predict(features.vectors) == features.labels
        classes = range(len(features.class_names))
        counts = [int((features.labels == label).sum()) for label in classes]
        scores = [float(right[features.labels == label].mean()) if counts[label] else float("nan") for label in classes]
    table = Table(title=f"{title}, {len(features.vectors)} images")
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column(heading, justify="right")
    for name, count, score in zip(features.class_names, counts, scores, strict=True):
        table.add_row(name, str(count), "" if np.isnan(score) else f"{100 * score:.1f}")
    table.add_section()
    table.add_row("mean", "", f"{100 * float(np.nanmean(scores)):.2f}")
    return table


def split_accuracies(features: Features, C: float, splitter: PerClassSplits) -> list[float]:  # noqa: N803
    """The mean accuracy of the classes on each split. Raises SppDetError for features of several classes an image."""
    if features.several:
        raise SppDetError("splits by class need one class an image, which a VOC devkit's have not")
    vectors, labels = features.vectors, features.labels
    splits = track(splitter.split(vectors, labels), "splits", splitter.get_n_splits())
    return [
        class_accuracy(labels[test], OneVsRestSVM(C).fit(vectors[train], labels[train]).predict(vectors[test]))
        for train, test in splits
    ]


def split_line(features: Features, C: float, splits: int, train: int, test: int) -> str:  # noqa: N803
    """Mean and deviation of the splits' accuracies, in a line."""
    found = 100 * np.array(split_accuracies(features, C, PerClassSplits(train, test, splits)))
    deviation = found.std(ddof=1) if splits > 1 else 0.0
    return (
        f"accuracy {found.mean():.2f}% ± {deviation:.2f} over {splits} splits, {len(features.class_names)} classes, "
        f"{train} images of each to learn from and up to {test} to test on"
    )
