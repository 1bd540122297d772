"""The SVM estimators beside scikit-learn's, VOC's average precision, Caltech101's splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from spp_det.classification import MultiLabelSVM, OneVsRestSVM, PerClassSplits, class_accuracy, class_ap, mean_ap
from spp_det.classification.protocols import presence_of
from spp_det.datasets import VOCDataset
from spp_det.errors import SppDetError


def blobs(per_class: int = 40, classes: int = 3, dim: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    vectors = rng.normal(size=(classes, dim))[labels] + rng.normal(0, 0.9, (len(labels), dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def test_margins_are_those_of_liblinear() -> None:
    vectors, labels = blobs()
    ours = OneVsRestSVM(C=2.0, tol=1e-5).fit(vectors, labels)
    theirs = LinearSVC(C=2.0, loss="hinge", tol=1e-6, max_iter=200_000).fit(vectors, labels)
    np.testing.assert_allclose(ours.decision_function(vectors), theirs.decision_function(vectors), atol=2e-3)
    assert ours.score(vectors, labels) == pytest.approx(theirs.score(vectors, labels), abs=0.01)


def test_classes_may_have_any_names() -> None:
    vectors, labels = blobs(classes=2)
    names = np.array(["cat", "dog"])[labels]
    svm = OneVsRestSVM().fit(vectors, names)
    assert svm.classes_.tolist() == ["cat", "dog"]
    assert (svm.predict(vectors) == names).mean() > 0.8
    assert svm.decision_function(vectors).shape == (80, 2)


def test_labels_of_zero_are_left_out_of_learning_and_of_the_score() -> None:
    vectors, labels = blobs()
    presence = np.where(labels[:, None] == np.arange(3), 1, -1).astype(np.int8)
    presence[::5, 0] = 0
    kept = presence[:, 0] != 0
    svm = MultiLabelSVM(tol=1e-4).fit(vectors, presence)
    alone = MultiLabelSVM(tol=1e-4).fit(vectors[kept], presence[kept][:, :1])
    np.testing.assert_allclose(svm.coef_[0], alone.coef_[0], atol=1e-6)
    scores = svm.decision_function(vectors)
    assert class_ap(presence, scores)[0] == class_ap(presence[kept], scores[kept])[0]
    assert svm.score(vectors, presence) == mean_ap(presence, scores)
    assert set(np.unique(svm.predict(vectors))) == {-1, 1}
    with pytest.raises(ValueError, match="1, -1 and 0"):
        svm.fit(vectors, labels)


def test_several_labels_in_a_grid_search() -> None:
    vectors, labels = blobs()
    presence = np.where(labels[:, None] == np.arange(3), 1, -1).astype(np.int8)
    search = GridSearchCV(MultiLabelSVM(), {"C": [1e-4, 1.0]}, cv=[(np.arange(0, 120, 2), np.arange(1, 120, 2))])
    search.fit(vectors, presence)
    assert search.best_params_["C"] in (1e-4, 1.0)
    assert search.best_score_ > 0.6
    assert clone(MultiLabelSVM(C=3.0)).C == 3.0


def test_average_precision_by_hand() -> None:
    presence = np.array([[1], [-1], [1], [0], [-1]], np.int8)
    scores = np.array([[5.0], [4.0], [3.0], [9.0], [1.0]])  # the difficult one, ranked first, does not count
    # precision 1 at recall 1/2, 2/3 at recall 1: recalls 0 .. 0.5 take 1, 0.6 .. 1 take 2/3
    assert class_ap(presence, scores) == [pytest.approx((6 * 1 + 5 * 2 / 3) / 11)]
    assert class_ap(presence, scores, "area") == [pytest.approx(0.5 + 0.5 * 2 / 3)]
    never = np.array([[-1, 1], [0, -1]], np.int8)
    assert np.isnan(class_ap(never, np.zeros((2, 2)))[0])
    assert mean_ap(never, np.array([[0.0, 1.0], [0.0, 0.0]])) == 1.0


def test_presence_is_what_the_devkits_files_say(voc_root: Path) -> None:
    dataset = VOCDataset(voc_root, split="test")
    presence = presence_of(dataset)
    for label, name in enumerate(dataset.class_names):
        lines = (voc_root / "VOC2007" / "ImageSets" / "Main" / f"{name}_test.txt").read_text().split("\n")
        flags = dict(line.split() for line in lines if line.strip())
        assert [int(flags[image_id]) for image_id in dataset.ids] == presence[:, label].tolist()


def test_splits_by_class() -> None:
    labels = np.repeat(["a", "b", "c"], [40, 31, 90])
    splitter = PerClassSplits(30, 50, 4, seed=1)
    splits = list(splitter.split(labels, labels))
    assert splitter.get_n_splits() == len(splits) == 4
    for train, test in splits:
        assert not set(train) & set(test)
        assert [(labels[train] == name).sum() for name in "abc"] == [30, 30, 30]
        assert [(labels[test] == name).sum() for name in "abc"] == [10, 1, 50]
    assert not np.array_equal(splits[0][0], splits[1][0])
    again = list(splitter.split(labels, labels))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(splits, again, strict=True))
    with pytest.raises(SppDetError, match="class a has 30 images; 30 to learn from and one to test on need 31"):
        next(splitter.split(labels, np.repeat(["a", "b"], [30, 40])))


def test_accuracy_counts_classes_alike() -> None:
    assert class_accuracy([0, 0, 0, 1], [0, 0, 1, 1]) == pytest.approx((2 / 3 + 1) / 2)
