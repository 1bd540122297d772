"""SVMs that see mirror images too, against a source that has them as images."""

from __future__ import annotations

import numpy as np
import pytest
from reference.training import World

from spp_det.config import config_from
from spp_det.errors import ConfigError
from spp_det.training import SvmSettings, WithMirrored, train_svms


class Turned(World):
    """Mirror images have the numbers of their vectors the other way round."""

    def pooled(self, index, boxes, *, flipped=False, scale_indices=None):
        found = self.features(index, boxes, "pool5")
        return np.ascontiguousarray(found[:, ::-1]) if flipped else found


class TwiceAsLong(World):
    """The same images, and their mirror images behind them, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = len(self.targets)
        self.targets, self.proposals = 2 * self.targets, 2 * self.proposals

    def features(self, index, boxes, layer):
        found = super().features(index, boxes, layer)
        return found if index < self.count else np.ascontiguousarray(found[:, ::-1])


def test_it_is_as_if_the_mirror_images_were_images() -> None:
    mirrored, written_out = WithMirrored(Turned()), TwiceAsLong()
    assert len(mirrored) == len(written_out) == 24
    settings = SvmSettings(C=0.1, retrain_after=40)
    found, log = train_svms(mirrored, "pool5", settings)
    expected, expected_log = train_svms(written_out, "pool5", settings)
    assert np.array_equal(found.coef_, expected.coef_)
    assert log == expected_log
    plain, _ = train_svms(Turned(), "pool5", settings)
    assert not np.allclose(found.coef_, plain.coef_, atol=1e-3)


def test_only_pooled_vectors_are_mirrored() -> None:
    source = WithMirrored(Turned())
    boxes = source.windows(13).boxes
    assert np.array_equal(boxes, source.windows(1).boxes)
    assert source.cell_ids(13, boxes) is None
    with pytest.raises(ValueError, match="none at fc7"):
        source.features(13, boxes, "fc7")
    for own in (["svm.flip=true"], ["svm.flip=true", "svm.layer=pool5", "regions.kind=rcnn"]):
        with pytest.raises(ConfigError, match=r"is for pooled windows, svm\.layer = \"pool5\" - at `\$\.svm\.flip`"):
            config_from({"data": {"root": "none"}}, "here", own)
