"""A large image, or one of very many windows, gives the same and takes no more memory than was said."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from spp_det.detection import Detector, pooled
from spp_det.detection import detector as detector_file
from spp_det.shipped import SHIPPED

GIGABYTE = 10**9
DETECT = """
import re
import resource
import cv2
import numpy as np
from skimage.data import astronaut
from spp_det.detection import Detector
from spp_det.shipped import SHIPPED
from spp_det.structures import Proposals

image = np.tile(cv2.resize(astronaut(), (1000, 1000)), (4, 6, 1))
corners = np.sort(np.random.default_rng(0).uniform(0, 1, (20_000, 2, 2)), axis=1)
boxes = (corners * [6000, 4000]).reshape(-1, 4).astype(np.float32)
detector = Detector.load(SHIPPED)
detector.detect(image[:300, :400], Proposals(boxes[:50] / 16))  # which compiles what is not compiled yet
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
features = detector.regions.live_features(image)
first, _ = detector.regions.distinct(features, boxes)
del features
detector.detect(image, Proposals(boxes))
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())  # ru_maxrss counts the parent's memory, too
print(len(first), int(peak.group(1)) * 1024 - before)
"""


def squares(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Squares of many sizes and colours, one over the other: more windows than a photograph has."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    for side in np.geomspace(height / 2, height / 60, 1500).astype(int):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + side, x : x + side] = rng.integers(0, 256, 3)
    return image


@pytest.mark.parametrize("layer", ["fc7", "pool5"])
def test_vectors_that_are_made_twice_give_the_same(monkeypatch: pytest.MonkeyPatch, layer: str) -> None:
    found = []
    for most, block in ((pooled.MOST, pooled.BLOCK), (0, 128)):
        monkeypatch.setattr(pooled, "MOST", most)
        monkeypatch.setattr(detector_file, "BLOCK", block)
        detector = Detector.load(SHIPPED, precision="float32")
        assert detector.settings.vote
        assert detector.regression_layer == "pool5"
        if layer == "pool5":  # another detector, whose SVMs read what is pooled
            rng = np.random.default_rng(0)
            detector.layer = layer
            detector.svms.coef_ = rng.standard_normal((20, detector.regions.dim(layer))).astype(np.float32) * 0.01
        image = squares(120, 160)
        found.append(detector.candidates(image, detector.proposals.propose(image, "squares")))
    at_once, later = found
    assert len(at_once.windows) > 100
    np.testing.assert_array_equal(at_once.windows, later.windows)
    np.testing.assert_array_equal(at_once.labels, later.labels)
    np.testing.assert_allclose(at_once.scores, later.scores, atol=1e-4)
    np.testing.assert_allclose(at_once.regressed, later.regressed, atol=1e-2)


def test_a_picture_of_24_million_pixels_and_20_000_windows_adds_little_to_the_libraries() -> None:
    """Which take 0.9 GB, so that it stays below 2; more where something is compiled: it was 2.4 GB on top before."""
    done = subprocess.run([sys.executable, "-c", DETECT], capture_output=True, text=True, check=True)
    windows, more = map(int, done.stdout.split())
    assert windows > 18_000  # after those of the same cells were taken together
    assert more < 0.9 * GIGABYTE, done.stdout
