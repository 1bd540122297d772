"""The detector end to end with parts of paper: a region is described by its mean colour."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage
from reference.colour_parts import NAMES, ColourSVMs, FixedProposals, MeanColours, Mover

from spp_det import errors
from spp_det.config import DetectConfig
from spp_det.detection.detector import Detector
from spp_det.structures import Proposals, empty_boxes

RED, GREEN = [10, 5, 30, 25], [40, 10, 60, 30]
WINDOWS = np.array([RED, [10, 5, 30, 24], GREEN, [70, 0, 80, 10]], np.float32)


@pytest.fixture
def image():
    picture = np.zeros((40, 80, 3), np.uint8)
    for (x1, y1, x2, y2), channel in ((RED, 0), (GREEN, 1)):
        picture[y1:y2, x1:x2, channel] = 200
    return picture


def detector(**changes):
    parts = {"proposals": FixedProposals(WINDOWS), "regions": MeanColours(), "svms": ColourSVMs()}
    return Detector(**{**parts, "class_names": NAMES, "settings": DetectConfig(min_score=0.0), **changes})


def test_finds_both_objects(image):
    found = detector().detect(image)
    assert found.boxes.tolist() == [RED, GREEN]
    assert found.names == ["red", "green"]
    assert found.scores == pytest.approx(4 * 200 / 255 - 2)


def test_the_layer_is_what_the_svms_read(image):
    assert len(detector(layer="pool5").detect(image)) == 0
    assert len(detector(layer="fc7").detect(image)) == 2


@pytest.mark.parametrize(("regression_layer", "step"), [("pool5", 1), ("fc6", 2)])
def test_the_regressor_moves_the_kept_windows_only(image, regression_layer, step):
    mover, regions = Mover(), MeanColours()
    found = detector(regressor=mover, regression_layer=regression_layer, regions=regions).detect(image)
    assert found.boxes.tolist() == [[x1 + step, y1, x2 + step, y2] for x1, y1, x2, y2 in (RED, GREEN)]
    assert mover.asked == [((2, 3), [0, 1], (40, 80))]
    assert regions.calls == [4]  # pooled once, for the SVMs and the regressor
    assert regions.passes == 1


def test_candidates_keep_both_boxes(image):
    candidates = detector(regressor=Mover()).candidates(image, Proposals(WINDOWS))
    assert candidates.boxes.tolist() == [RED, GREEN]
    assert candidates.regressed is not None
    assert candidates.regressed.tolist() != candidates.boxes.tolist()
    assert candidates.windows.tolist() == [0, 2]
    assert detector().candidates(image, Proposals(WINDOWS)).regressed is None


def test_a_file_gives_what_its_array_gives(image, tmp_path):
    path = tmp_path / "000012.png"
    PillowImage.fromarray(image).save(path)
    method = FixedProposals(WINDOWS)
    own = detector(proposals=method)
    for source in (path, str(path)):
        assert own.detect(source).boxes.tolist() == [RED, GREEN]
    own.detect(image)
    assert method.asked == ["000012", "000012", ""]


def test_windows_of_the_callers_choice(image):
    found = detector().detect(image, Proposals(WINDOWS[2:]))
    assert found.names == ["green"]


def test_min_score_leaves_out_the_weak(image):
    assert len(detector(settings=DetectConfig()).detect(image, min_score=1.0)) == 2
    assert len(detector().detect(image, min_score=1.2)) == 0


def test_no_proposal_is_no_detection(image):
    regions = MeanColours()
    found = detector(proposals=FixedProposals(empty_boxes()), regions=regions, regressor=Mover()).detect(image)
    assert len(found) == 0
    assert found.class_names == NAMES
    assert regions.passes == 0


def test_no_candidate_is_no_detection(image):
    found = detector(settings=DetectConfig(min_score=50.0), regressor=Mover()).detect(image)
    assert len(found) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_image(wrong):
    with pytest.raises(ValueError, match="an image is uint8"):
        detector().detect(wrong)


def test_a_file_that_is_no_image(tmp_path):
    with pytest.raises(errors.DataError, match=r"missing\.jpg: there is no such image"):
        detector().detect(tmp_path / "missing.jpg")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    with pytest.raises(errors.DataError, match=r"broken\.jpg: is not an image"):
        detector().detect(str(broken))
