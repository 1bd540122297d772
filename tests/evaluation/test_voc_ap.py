"""Average precision: a table worked by hand, each of the devkit's rules by itself, and a plain oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.average_precision import slow_area, slow_eleven_points, slow_evaluate

from spp_det.datasets import VOCDataset
from spp_det.evaluation.voc import average_precision, evaluate, match, precision_recall
from spp_det.structures import Detections, Target

NAMES = ("cat", "dog")
A, B, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]
NEAR_A = [0, 0, 10, 8]  # IoU 0.8 with A
HALF_A = [0, 0, 10, 5]  # IoU 0.5 with A, exactly


def target(*objects) -> Target:
    """Objects (box, label, difficult)."""
    boxes = np.array([o[0] for o in objects], np.float32).reshape(-1, 4)
    return Target(boxes, np.array([o[1] for o in objects], np.int64), np.array([o[2] for o in objects], bool))


def detections(*found) -> Detections:
    """Detections (box, score, label)."""
    boxes = np.array([d[0] for d in found], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([d[1] for d in found]), np.array([d[2] for d in found], np.int64), NAMES)


def test_a_table_worked_by_hand():
    """Four cats, one of them difficult; seven detections in two images.

    | score | image | what         | verdict   | right | wrong | recall | precision |
    |-------|-------|--------------|-----------|-------|-------|--------|-----------|
    | 0.9   | 1     | A            | right     | 1     | 0     | 1/3    | 1         |
    | 0.8   | 1     | A, again     | wrong     | 1     | 1     | 1/3    | 1/2       |
    | 0.7   | 2     | difficult A  | ignored   |       |       |        |           |
    | 0.6   | 2     | B            | right     | 2     | 1     | 2/3    | 2/3       |
    | 0.5   | 2     | nothing      | wrong     | 2     | 2     | 2/3    | 1/2       |
    | 0.4   | 1     | nothing      | wrong     | 2     | 3     | 2/3    | 2/5       |
    | 0.3   | 1     | B            | right     | 3     | 3     | 1      | 1/2       |

    11 points: 1 at 0, .1, .2, .3; 2/3 at .4, .5, .6; 1/2 at .7, .8, .9, 1: (4 + 2 + 2) / 11 = 8/11.
    Area: 1/3 * 1 + 1/3 * 2/3 + 1/3 * 1/2 = 13/18.
    """
    targets = {
        "1": target((A, 0, False), (B, 0, False)),
        "2": target((A, 0, True), (B, 0, False)),
    }
    found = {
        "1": detections((A, 0.9, 0), (NEAR_A, 0.8, 0), (FAR, 0.4, 0), (B, 0.3, 0)),
        "2": detections((FAR, 0.5, 0), (B, 0.6, 0), (NEAR_A, 0.7, 0)),
    }
    curve = precision_recall(targets, found, NAMES)["cat"]
    assert curve.objects == 3
    assert curve.recall == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
    assert curve.precision == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2, 2 / 5, 1 / 2])
    eleven = evaluate(targets, found, NAMES)
    assert eleven["ap"]["cat"] == pytest.approx(8 / 11)
    assert eleven["map"] == pytest.approx(8 / 11)
    assert evaluate(targets, found, NAMES, method="area")["map"] == pytest.approx(13 / 18)


def test_an_overlap_of_exactly_one_half():
    image = target((A, 0, False))
    assert match(image, detections((HALF_A, 1, 0))).tolist() == [1]
    assert match(image, detections((HALF_A, 1, 0)), overlap_test=">").tolist() == [0]
    assert match(image, detections((HALF_A, 1, 0)), min_overlap=0.51).tolist() == [0]


def test_an_overlap_of_exactly_one_half_on_a_large_image():
    image = target(([0, 0, 6003, 3001], 0, False))
    shifted = detections(([2001, 0, 8004, 3001], 1, 0))  # shares 2 of 4 thirds: 0.49999997 in float32
    assert match(image, shifted).tolist() == [1]
    assert match(image, shifted, overlap_test=">").tolist() == [0]


def test_only_the_object_that_overlaps_most_counts():
    """The second detection overlaps a free object enough, but overlaps a taken one more."""
    left, right = [0, 0, 10, 10], [2, 0, 12, 10]
    image = target((left, 0, False), (right, 0, False))
    assert match(image, detections((left, 0.9, 0), ([0.5, 0, 10.5, 10], 0.8, 0))).tolist() == [1, 0]


def test_the_better_score_takes_the_object_wherever_it_stands():
    assert match(target((A, 0, False)), detections((A, 0.1, 0), (NEAR_A, 0.2, 0))).tolist() == [0, 1]


def test_equal_scores_go_in_the_order_given():
    assert match(target((A, 0, False)), detections((NEAR_A, 0.2, 0), (A, 0.2, 0))).tolist() == [1, 0]


def test_a_difficult_object_hides_every_detection_of_it():
    image = target((A, 0, True))
    assert match(image, detections((A, 0.9, 0), (NEAR_A, 0.8, 0))).tolist() == [-1, -1]


def test_another_class_is_no_match():
    assert match(target((A, 0, False)), detections((A, 0.9, 1))).tolist() == [0]


def test_images_without_objects_or_detections():
    targets = {"1": target(), "2": target((A, 0, False)), "3": target()}
    found = {"1": detections((A, 0.9, 0)), "2": detections((A, 0.1, 0)), "3": detections()}
    assert evaluate(targets, found, NAMES)["ap"]["cat"] == pytest.approx(0.5)
    none = {key: detections() for key in targets}
    assert evaluate(targets, none, NAMES)["ap"]["cat"] == 0


def test_a_class_without_objects_is_left_out_of_the_mean():
    targets = {"1": target((A, 0, False), (B, 1, True))}
    result = evaluate(targets, {"1": detections((A, 0.9, 0), (FAR, 0.8, 1))}, NAMES)
    assert result["map"] == 1
    assert math.isnan(result["ap"]["dog"])
    assert math.isnan(evaluate({}, {}, NAMES)["map"])


@pytest.mark.parametrize("tenth", range(1, 11))
def test_a_recall_of_exact_tenths_counts_at_its_point(tenth):
    recall = np.arange(1, tenth + 1) / 10
    assert average_precision(recall, np.ones(tenth)) == pytest.approx((tenth + 1) / 11)


def test_perfect_and_empty_curves():
    assert average_precision(np.array([0.5, 1.0]), np.ones(2)) == 1
    assert average_precision(np.array([0.5, 1.0]), np.ones(2), "area") == 1
    assert average_precision(np.zeros(0), np.zeros(0)) == 0
    assert average_precision(np.zeros(0), np.zeros(0), "area") == 0


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match="11point or area"):
        average_precision(np.zeros(0), np.zeros(0), "12point")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="image 1 has no result"):
        evaluate({"1": target()}, {}, NAMES)
    with pytest.raises(ValueError, match="image 2 has a result, but no target"):
        evaluate({}, {"2": detections()}, NAMES)
    with pytest.raises(ValueError, match="other classes"):
        evaluate({"1": target()}, {"1": detections()}, ("cat",))


def test_the_objects_of_real_photographs_find_themselves(voc_root):
    data = VOCDataset(voc_root, year="2007", split="test")
    targets = {image_id: data.target(image_id) for image_id in data.ids[:300]}
    found = {
        key: Detections(t.boxes, np.linspace(0, 1, len(t)), t.labels, data.class_names) for key, t in targets.items()
    }
    result = evaluate(targets, found, data.class_names)
    assert result["map"] == 1
    assert sum(not math.isnan(value) for value in result["ap"].values()) >= 5
    assert evaluate(targets, found, data.class_names, method="area")["map"] == pytest.approx(1)


@st.composite
def small_worlds(draw):
    """Some images of two classes, on a grid so small that overlaps of one half and equal scores abound."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets, found = {}, {}
    for image in range(draw(st.integers(1, 4))):
        counts = draw(st.tuples(st.integers(0, 6), st.integers(0, 12)))
        corners = [rng.integers(0, 5, (count, 2)) for count in counts]
        boxes = [np.concatenate([c, c + rng.integers(1, 5, c.shape)], axis=1).astype(np.float32) for c in corners]
        targets[str(image)] = Target(boxes[0], rng.integers(0, 2, counts[0]), rng.random(counts[0]) < 0.25)
        found[str(image)] = Detections(boxes[1], rng.integers(-3, 4, counts[1]), rng.integers(0, 2, counts[1]), NAMES)
    return targets, found


@settings(deadline=None, max_examples=150)
@given(small_worlds(), st.sampled_from([0.25, 0.5, 0.7]), st.booleans())
def test_evaluate_is_the_plain_definition(world, min_overlap, strict):
    targets, found = world
    test = ">" if strict else ">="
    points = evaluate(targets, found, NAMES, min_overlap, "11point", test)["ap"]
    areas = evaluate(targets, found, NAMES, min_overlap, "area", test)["ap"]
    for label, name in enumerate(NAMES):
        objects = {
            key: [
                (box, bool(hard)) for box, own, hard in zip(t.boxes, t.labels, t.difficult, strict=True) if own == label
            ]
            for key, t in targets.items()
        }
        entries = [
            (key, float(score), box)
            for key, d in found.items()
            for box, score, own in zip(d.boxes, d.scores, d.labels, strict=True)
            if own == label
        ]
        if not any(not hard for image in objects.values() for _, hard in image):
            assert math.isnan(points[name])
            assert math.isnan(areas[name])
            continue
        recalls, precisions = slow_evaluate(objects, entries, min_overlap, strict)
        assert points[name] == pytest.approx(slow_eleven_points(recalls, precisions), abs=1e-12)
        assert areas[name] == pytest.approx(slow_area(recalls, precisions), abs=1e-12)
