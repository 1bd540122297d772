import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.crops import crop_slowly
from torch import nn

from spp_det.networks import FcHead, Preprocessing, Trunk
from spp_det.regions import RCNNRegions
from spp_det.regions.crops import crop_geometry

MEAN = 100.0


def regions(crop_size, context):
    """An extractor whose trunk only takes off the mean."""
    preprocessing = Preprocessing(mean=(MEAN,) * 3, std=(1.0,) * 3, maximum=255.0)
    trunk = Trunk(nn.Identity(), name="none", out_channels=3, stride=1, offset=0.0, preprocessing=preprocessing)
    return RCNNRegions(trunk, FcHead(3, (2, 2), 1), (1,), crop_size, context)


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    crop=st.sampled_from([(227, 16), (33, 4), (64, 0)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_oracle(size, crop, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    first = np.array([rng.integers(0, size[1]), rng.integers(0, size[0])])
    last = np.array([rng.integers(first[0] + 1, size[1] + 1), rng.integers(first[1] + 1, size[0] + 1)])
    box = np.concatenate([first, last]).astype(np.float32)
    expected, seen = crop_slowly(image, box.tolist(), *crop)
    actual = regions(*crop).crops(image, box[None])[0]
    np.testing.assert_allclose(actual, np.where(seen[..., None], expected - MEAN, 0), atol=1e-4)


def test_worked_by_hand():
    # 195 x 195 px in the middle: grown by 227 / 195 about 151 + 97.5 (counted from 1) = 248.5 it is pixels
    # 135 .. 362, 228 of them, as the release's two roundings have it.
    source, place = crop_geometry(np.array([[150, 150, 345, 345]], np.float32), (600, 600))
    assert source.tolist() == [[134, 134, 362, 362]]
    assert place.tolist() == [[0, 0, 227, 227]]


def test_outside_the_image():
    # At the corner: pixels -15 .. 212 of which 16 lie outside, 212 / 228 of the crop are left.
    source, place = crop_geometry(np.array([[0, 0, 195, 195]], np.float32), (600, 600))
    assert source.tolist() == [[0, 0, 212, 212]]
    assert place.tolist() == [[16, 16, 227, 227]]


def test_no_box_and_no_room():
    source, place = crop_geometry(np.zeros((0, 4), np.float32), (5, 5))
    assert source.shape == place.shape == (0, 4)
    with pytest.raises(ValueError, match="no room"):
        crop_geometry(np.zeros((0, 4), np.float32), (5, 5), 32, 16)
