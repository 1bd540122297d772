"""One more class, one less, another name: on windows that are described by their mean colour."""

from __future__ import annotations

import numpy as np
import pytest

from spp_det.boxes import iou
from spp_det.config import DetectConfig
from spp_det.detection.classes import add_class
from spp_det.detection.detector import Detector
from spp_det.detection.first_look import FirstLook
from spp_det.detection.memory import read_memory, write_memory
from spp_det.errors import ConfigError, SppDetError
from spp_det.structures import Proposals
from spp_det.training import BoxRegressor, LinearSVMs, SvmSettings

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
SETTINGS = SvmSettings(C=1.0, bias=10.0)


class Head:
    def numpy_layers(self, pooled, layers):
        return [pooled.copy() for _ in layers]


class Colours:
    """The vector of a window: its mean colour, and that of its right half."""

    head = Head()

    def image_features(self, image):
        return image

    live_features = image_features

    def distinct(self, features, boxes):
        _, first, place = np.unique(boxes, axis=0, return_index=True, return_inverse=True)
        return first, place.reshape(-1)

    def pooled(self, features, boxes, watch=None):
        return self.window_features(features, boxes)

    def window_features(self, features, boxes, layer="fc7"):
        vectors = [np.zeros((0, 6), np.float32)]
        for x1, y1, x2, y2 in boxes.astype(int):
            window = features[y1:y2, x1:x2] / 255
            vectors.append(np.concatenate([window.mean((0, 1)), window[:, (x2 - x1) // 2 :].mean((0, 1))])[None])
        return np.concatenate(vectors).astype(np.float32)

    def dim(self, layer):
        return 6


class Jittered:
    """Windows all over, the same for every image."""

    def __init__(self):
        rng = np.random.default_rng(5)
        corner = rng.integers(0, 60, (300, 2))
        self.boxes = np.concatenate([corner, corner + rng.integers(12, 36, (300, 2))], axis=1).astype(np.float32)

    def propose(self, image, image_id):
        return Proposals(self.boxes)


def scene(seed, names):
    """(image [96, 96, 3], the box of each name): rectangles at different corners over dark noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (96, 96, 3)).astype(np.uint8)
    boxes = {}
    for place, name in zip(rng.permutation(4), names, strict=False):
        x1, y1 = rng.integers(2, 12, 2) + 48 * np.array([place % 2, place // 2])
        width, height = rng.integers(20, 30, 2)
        image[y1 : y1 + height, x1 : x1 + width] = COLOURS[name]
        boxes[name] = np.array([[x1, y1, x1 + width, y1 + height]], np.float32)
    return image, boxes


def examples(name, seeds, names=tuple(COLOURS)):
    scenes = [scene(seed, names) for seed in seeds]
    return [image for image, _ in scenes], [boxes[name] for _, boxes in scenes]


@pytest.fixture
def detector():
    """One that knows red and green."""
    regions, windows, labels = Colours(), [], []
    for seed in range(6):
        image, boxes = scene(seed, ("red", "green"))
        for label, name in enumerate(("red", "green")):
            windows.append(regions.window_features(image, boxes[name]))
            labels.append(label)
        windows.append(regions.window_features(image, np.array([[0, 0, 20, 20], [40, 40, 60, 60]])))
        labels += [-1, -1]
    svms = LinearSVMs(C=1.0).fit(np.concatenate(windows), np.array(labels), 2)
    regressor = BoxRegressor(regularisation=0.1)
    regressor.weights_, regressor.scale_ = np.zeros((2, 7, 4), np.float32), 20.0
    return Detector(Jittered(), regions, svms, regressor, ("red", "green"), settings=DetectConfig(min_score=-2.0))


def test_a_new_class_leaves_the_others_bit_by_bit(detector):
    before = [part.copy() for part in (detector.svms.coef_, detector.svms.intercept_, detector.regressor.weights_)]
    image, boxes = scene(50, COLOURS)
    old = detector.detect(image)
    log = add_class(detector, "blue", *examples("blue", range(10, 16)), SETTINGS)
    assert detector.class_names == ("red", "green", "blue")
    after = (detector.svms.coef_, detector.svms.intercept_, detector.regressor.weights_)
    for was, now in zip(before, after, strict=True):
        assert now[:2].tobytes() == was.tobytes()
        assert len(now) == 3
    new = detector.detect(image)
    assert new[new.labels < 2].boxes.tobytes() == old.boxes.tobytes()
    assert new[new.labels < 2].scores.tobytes() == old.scores.tobytes()
    best = new[new.labels == 2][:1]
    assert best.scores[0] > 0
    assert iou(best.boxes, boxes["blue"])[0, 0] > 0.6
    assert log[-1]["positives"] == 6


def test_it_does_not_fire_where_the_class_is_not(detector):
    detector.add_class("blue", *examples("blue", range(10, 16)), SETTINGS)
    for seed in range(60, 64):
        found = detector.detect(scene(seed, ("red", "green"))[0], min_score=0)
        assert "blue" not in found.names


def test_more_examples_go_on_from_those_before(detector):
    detector.add_class("blue", *examples("blue", range(10, 13)), SETTINGS)
    first = detector.memory("blue")
    detector.add_class("blue", *examples("blue", range(13, 16)), SETTINGS)
    both = detector.memory("blue")
    assert len(first.svm.positives) == 3
    assert both.svm.positives[:3].tobytes() == first.svm.positives.tobytes()
    assert len(both.svm.positives) == 6
    assert len(both.regression.offsets) > len(first.regression.offsets)
    kept = {row.tobytes() for row in both.svm.negatives}
    assert kept & {row.tobytes() for row in first.svm.negatives}
    assert len(both.svm.duals) == len(both.svm.positives) + len(both.svm.negatives)
    assert detector.class_names == ("red", "green", "blue")


def test_what_the_duals_say_is_the_svm(detector):
    """The hyperplane is the sum of its examples, weighed by the duals that are kept beside them."""
    detector.add_class("blue", *examples("blue", range(10, 16)), SETTINGS)
    memory = detector.memory("blue").svm
    signs = np.where(np.arange(len(memory.duals)) < len(memory.positives), 1.0, -1.0)
    rows = np.concatenate([memory.positives, memory.negatives])
    assert (signs * memory.duals) @ rows == pytest.approx(detector.svms.coef_[2], rel=1e-3, abs=1e-5)


def test_the_background_gives_the_first_negatives(detector):
    image, boxes = scene(80, COLOURS)
    greens = np.repeat(Colours().window_features(image, boxes["green"]), 30, axis=0)
    alone = examples("blue", range(10, 14), names=("blue",))
    log = add_class(detector, "blue", *alone, SETTINGS, greens)
    assert (log[0]["image"], log[0]["negatives"]) == (-1, 30)
    assert Colours().window_features(image, boxes["green"])[0] @ detector.svms.coef_[2] < 0


def test_a_new_class_learns_with_the_weights_of_the_others(detector):
    """A positive's dual may reach C times its weight, no farther."""
    limits = []
    for weight in (2.0, 20.0):
        detector.svms.positive_weight, detector.svms.C = weight, 1e-4
        detector.add_class(f"blue {weight}", *examples("blue", range(10, 13)))
        memory = detector.memory(f"blue {weight}").svm
        limits.append(memory.duals[: len(memory.positives)].max())
    assert limits == pytest.approx([2e-4, 2e-3])


def test_an_image_without_the_class_is_welcome_but_one_is_needed(detector):
    images, boxes = examples("blue", range(10, 14))
    none = scene(90, ("red",))[0]
    detector.add_class("blue", [*images, none], [*boxes, []], SETTINGS)
    assert len(detector.memory("blue").svm.positives) == 4
    detector.add_class("blue", [none], [[]], SETTINGS)  # only negatives, later
    with pytest.raises(SppDetError, match="no object"):
        detector.add_class("grey", [none], [[]], SETTINGS)
    assert detector.class_names == ("red", "green", "blue")


def test_mistakes_change_nothing(detector):
    images, boxes = examples("blue", [10])
    with pytest.raises(ConfigError, match="'red', whose examples are not kept"):
        detector.add_class("red", images, boxes)
    for name in ("", " blue", "a\nb"):
        with pytest.raises(ConfigError, match="name of a class"):
            detector.add_class(name, images, boxes)
    with pytest.raises(ValueError, match="outside its 96 x 96 pixels"):
        detector.add_class("blue", images, [[[0, 0, 97, 20]]])
    with pytest.raises(ValueError, match="empty"):
        detector.add_class("blue", images, [[[5, 5, 5, 20]]])
    with pytest.raises(ValueError, match="1 images and boxes for 2"):
        detector.add_class("blue", images, [*boxes, *boxes])
    assert detector.class_names == ("red", "green")
    assert len(detector.svms.coef_) == 2


def test_removing_and_renaming(detector):
    detector.add_class("blue", *examples("blue", range(10, 14)), SETTINGS)
    image = scene(50, COLOURS)[0]
    whole = detector.detect(image)
    detector.rename_class("blue", "azure").remove_class("red")
    assert detector.class_names == ("green", "azure")
    fewer = detector.detect(image)
    for new, old in ((0, 1), (1, 2)):
        assert fewer[fewer.labels == new].scores.tobytes() == whole[whole.labels == old].scores.tobytes()
    assert detector.memory("azure") is not None
    assert detector.memory("blue") is None
    with pytest.raises(ConfigError, match="no class 'red'"):
        detector.remove_class("red")
    with pytest.raises(ConfigError, match="has a class 'azure' already"):
        detector.rename_class("green", "azure")
    detector.remove_class("azure")
    with pytest.raises(ConfigError, match="only class"):
        detector.remove_class("green")


def test_the_first_look_of_a_compressed_detector_follows(detector):
    look = FirstLook()
    look.hidden_coef_, look.hidden_intercept_ = np.ones((3, 4), np.float32), np.zeros(3, np.float32)
    look.coef_, look.intercept_ = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    detector.first_look = look
    detector.remove_class("red")
    assert detector.first_look.coef_.shape == (1, 3)
    assert look.coef_.shape == (2, 3)


def test_a_memory_on_the_disk(detector, tmp_path):
    detector.add_class("a/b: ü", *examples("blue", range(10, 13)), SETTINGS)
    memory = detector.memory("a/b: ü")
    write_memory(tmp_path, "a/b: ü", memory)
    again = read_memory(tmp_path, "a/b: ü")
    assert again.svm.duals.tobytes() == memory.svm.duals.tobytes()
    assert again.svm.negatives.tobytes() == memory.svm.negatives.tobytes()
    assert again.regression.features.tobytes() == memory.regression.features.tobytes()
    assert read_memory(tmp_path, "other") is None


def test_saving_needs_a_folder_to_have_come_from(detector, tmp_path):
    with pytest.raises(ConfigError, match="did not come from a folder"):
        detector.save(tmp_path)
