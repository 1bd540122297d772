"""Many images in a row: the same detections as one by one, and every fault with its image's name."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from spp_det.detection import Detector
from spp_det.detection.stream import WorkerError, detect_many
from spp_det.errors import DataError
from spp_det.networks import FcHead, Preprocessing, Trunk
from spp_det.proposals import SelectiveSearch
from spp_det.regions import SPPRegions
from spp_det.structures import Proposals
from spp_det.training import LinearSVMs


class DyingProposals:
    """Ends its process, as the system does where memory runs out, at an image that begins with 13."""

    def propose(self, image, image_id):
        if image[0, 0, 0] == 13:
            os._exit(9)
        return Proposals(np.array([[0, 0, 20, 20]], np.float32))


@pytest.fixture
def detector():
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=4, padding=1), torch.nn.ReLU())
    preprocessing = Preprocessing((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    trunk = Trunk(body, name="tiny", out_channels=4, stride=4, offset=0.0, preprocessing=preprocessing)
    regions = SPPRegions(trunk, FcHead(4 * 5, (8, 8), 2).eval(), scales=(48,), levels=(1, 2))
    svms = LinearSVMs()
    svms.coef_, svms.intercept_, svms.scale_ = np.ones((2, 8), np.float32), np.zeros(2, np.float32), 1.0
    return Detector(SelectiveSearch(min_side=8), regions, svms, class_names=("cat", "dog"))


def pictures(count):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1) for _ in range(count)]
    for number, image in enumerate(images):
        image[0, 0, 0] = number
    return images


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_as_one_by_one(detector, tmp_path, workers):
    sources = pictures(5)
    PillowImage.fromarray(sources[2]).save(tmp_path / "third.png")
    sources[2] = tmp_path / "third.png"
    found = list(detector.detect_many(iter(sources), workers=workers))
    assert [name for name, _ in found] == ["image 0", "image 1", str(tmp_path / "third.png"), "image 3", "image 4"]
    for source, (_, detections) in zip(sources, found, strict=True):
        alone = detector.detect(source)
        assert len(alone)
        np.testing.assert_array_equal(detections.boxes, alone.boxes)
        np.testing.assert_array_equal(detections.scores, alone.scores)


def test_a_process_that_dies_is_an_error_with_a_name(detector):
    detector.proposals = DyingProposals()
    found = []
    run = (found.append(name) for name, _ in detect_many(detector, pictures(20), workers=1))
    with pytest.raises(WorkerError, match="image 13: the process that made its windows has died"):
        list(run)
    assert found == [f"image {number}" for number in range(13)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_and_left_out(detector, tmp_path, workers):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    sources = [*pictures(1), tmp_path / "broken.jpg", *pictures(1)]
    with pytest.raises(DataError, match=r"broken\.jpg"):
        list(detect_many(detector, sources, workers=workers))
    faults = []
    found = list(
        detect_many(detector, sources, workers=workers, on_fault=lambda name, fault: faults.append((name, str(fault))))
    )
    assert [name for name, _ in found] == ["image 0", "image 2"]
    assert [name for name, _ in faults] == [str(tmp_path / "broken.jpg")]
    assert "broken.jpg" in faults[0][1]


def test_no_more_is_read_than_waits(detector):
    taken = []

    def frames():
        for number in range(50):
            taken.append(number)
            yield pictures(1)[0]

    found = detect_many(detector, frames(), workers=1)
    next(found)
    assert len(taken) <= 4
    found.close()


def test_no_image_and_a_wrong_number(detector):
    assert list(detect_many(detector, [], workers=1)) == []
    with pytest.raises(ValueError, match="0 processes or more"):
        list(detect_many(detector, [], workers=-1))
