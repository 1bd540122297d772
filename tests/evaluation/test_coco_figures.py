"""The twelve figures beside a plain count of them."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.coco_figures import figure
from rich.console import Console

from spp_det.evaluation import coco_figures, coco_table
from spp_det.evaluation.coco import FIGURES
from spp_det.structures import Detections, Target, empty_boxes

NAMES = ("a", "b")
IOUS = np.linspace(0.5, 0.95, 10).tolist()  # as COCO has them: 0.5 + 7 * 0.05 is above 0.85, and some IoU is just that


def boxes_of(rng, count):
    corners = rng.integers(0, 60, (count, 2))
    return np.concatenate([corners, corners + rng.integers(4, 150, (count, 2))], axis=1).astype(np.float32)


def a_scene(seed, images=3, objects=5, found=8):
    """Targets, and detections that lie near half of them."""
    rng = np.random.default_rng(seed)
    targets, detections, areas = {}, {}, {}
    scores = rng.permutation(images * found) / 7  # no two are equal
    for number in range(images):
        truth = boxes_of(rng, int(rng.integers(0, objects + 1)))
        targets[f"i{number}"] = Target(truth, rng.integers(0, 2, len(truth)), rng.random(len(truth)) < 0.2)
        near = truth[rng.integers(0, len(truth), found // 2)] if len(truth) else truth
        near = np.maximum(near + rng.integers(-4, 5, near.shape), 0)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        boxes = np.concatenate([near, boxes_of(rng, found - len(near))]).astype(np.float32)
        own = scores[number * found : (number + 1) * found]
        detections[f"i{number}"] = Detections(boxes, own, rng.integers(0, 2, len(boxes)), NAMES)
        areas[f"i{number}"] = (
            (truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1]) * rng.uniform(0.3, 1, len(truth))
        )
    return targets, detections, areas


def plainly(targets, detections, areas):
    classes = []
    for label in range(len(NAMES)):
        images = []
        for image_id, target in targets.items():
            own, theirs = target.labels == label, detections[image_id]
            truths = list(
                zip(target.boxes[own].tolist(), areas[image_id][own].tolist(), target.difficult[own], strict=True)
            )
            mine = theirs.labels == label
            images.append((truths, list(zip(theirs.boxes[mine].tolist(), theirs.scores[mine].tolist(), strict=True))))
        classes.append(images)
    sizes = ("small", "medium", "large")
    values = [figure(classes, IOUS), figure(classes, [0.5]), figure(classes, [0.75])]
    values += [figure(classes, IOUS, size) for size in sizes]
    values += [figure(classes, IOUS, limit=limit, recall=True) for limit in (1, 10, 100)]
    values += [figure(classes, IOUS, size, recall=True) for size in sizes]
    return dict(zip(FIGURES, values, strict=True))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_figures_are_those_of_a_plain_count(seed):
    targets, detections, areas = a_scene(seed)
    assert coco_figures(targets, detections, NAMES, areas) == pytest.approx(
        plainly(targets, detections, areas), abs=1e-6, nan_ok=True
    )


def test_a_case_by_hand():
    """One object found exactly, one missed, one false alarm that scores less."""
    targets = {"x": Target(np.array([[0, 0, 40, 40], [100, 0, 200, 100]], np.float32), [0, 0], [False, False])}
    found = Detections(np.array([[0, 0, 40, 40], [50, 50, 60, 60]], np.float32), [1.0, 0.5], [0, 0], NAMES)
    figures = coco_figures(targets, {"x": found}, NAMES)
    assert figures["AP"] == pytest.approx(51 / 101)  # right up to a recall of 0.5
    assert figures["AP50"] == figures["AP75"] == figures["AP"]
    assert figures["AR1"] == figures["AR100"] == pytest.approx(0.5)
    assert math.isnan(figures["AP_small"])
    assert figures["AP_medium"] == pytest.approx(1.0)
    assert figures["AP_large"] == 0


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    crowd = Target(np.array([[0, 0, 100, 100], [200, 0, 240, 40]], np.float32), [0, 0], [True, False])
    boxes = np.array([[10, 10, 30, 30], [50, 50, 70, 70], [200, 0, 240, 40]], np.float32)
    found = Detections(boxes, [3.0, 2.0, 1.0], [0, 0, 0], NAMES)
    assert coco_figures({"x": crowd}, {"x": found}, NAMES)["AP"] == pytest.approx(1.0)
    marked = Target(crowd.boxes, [0, 0], [False, False])
    assert coco_figures({"x": marked}, {"x": found}, NAMES)["AP"] < 0.5


def test_nothing_found_and_nothing_there():
    one = Target(np.array([[0, 0, 10, 10]], np.float32), [0], [False])
    nothing = Detections.empty(NAMES)
    figures = coco_figures({"x": one}, {"x": nothing}, NAMES)
    assert figures["AP"] == figures["AR_small"] == 0
    assert math.isnan(figures["AP_large"])
    none = Target(empty_boxes(), [], [])
    assert all(math.isnan(value) for value in coco_figures({"x": none}, {"x": nothing}, NAMES).values())
    with pytest.raises(ValueError, match="image x has no result"):
        coco_figures({"x": one}, {}, NAMES)


def test_nothing_is_printed_but_the_table(capsys):
    targets, detections, areas = a_scene(3)
    figures = coco_figures(targets, detections, NAMES, areas)
    assert capsys.readouterr().out == ""
    text = io.StringIO()
    Console(file=text, width=80).print(coco_table(figures))
    for name in FIGURES:
        assert name in text.getvalue()
