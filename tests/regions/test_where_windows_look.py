"""A bright block on a dark image: the windows on it must see it, those beside it must not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spp_det.networks import FcHead, Preprocessing, Trunk
from spp_det.regions import RCNNRegions, SPPRegions

STRIDE = 16
PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def averages():
    """A trunk that takes the mean of each 16 x 16 pixels: its maps show the image itself, from 0 to 1."""
    body = nn.AvgPool2d(STRIDE)
    return Trunk(
        body, name="means", out_channels=3, stride=STRIDE, offset=7.5, preprocessing=PLAIN, size_multiple=STRIDE
    )


def extractor(scale, mapping):
    return SPPRegions(averages(), FcHead(3, (2, 2), 1), (scale,), (1,), mapping=mapping)


def brightest(regions, image, boxes):
    """The brightest cell of each box: [N]."""
    features = regions.image_features(image)
    return regions.window_features(features, np.array(boxes, np.float32).reshape(-1, 4), "pool5").max(axis=1)


@pytest.mark.parametrize("mapping", ["paper", "released"])
@settings(deadline=None, max_examples=25)
@given(
    size=st.tuples(st.integers(120, 320), st.integers(120, 320)),
    scale=st.sampled_from([224, 300, 480, 688]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    block=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_windows_on_and_beside_a_block(mapping, size, scale, place, block):
    height, width = size
    cell = STRIDE * min(size) / scale  # px of the original image
    sides = np.minimum(np.array(block) + np.ceil(3 * cell), (width, height))  # so that it fills a whole cell
    x1, y1 = np.floor(np.array(place) * (np.array([width, height]) - sides))
    x2, y2 = x1 + sides[0], y1 + sides[1]
    image = np.zeros((height, width, 3), np.uint8)
    image[int(y1) : int(y2), int(x1) : int(x2)] = 255
    regions = extractor(scale, mapping)

    gap = 1.5 * cell + 1  # a cell sees half of itself beyond its centre, and may be one cell off
    beside = [
        (0, 0, x1 - gap, height),
        (x2 + gap, 0, width, height),
        (0, 0, width, y1 - gap),
        (0, y2 + gap, width, height),
    ]
    beside = [box for box in beside if min(box[2] - box[0], box[3] - box[1]) > 2 * cell]
    on_it, *others = brightest(regions, image, [(x1, y1, x2, y2), *beside])
    assert on_it > 0.99
    assert all(value < 0.01 for value in others)


@pytest.mark.parametrize("scale", [224, 448])
def test_paper_cells_are_exactly_those_of_the_window(scale):
    """Each cell alone: a window of its 16 x 16 pixels sees it, and none of its neighbours."""
    side, cell = 224, STRIDE * 224 // scale
    regions = extractor(scale, "paper")
    steps = np.arange(0, side, cell)
    y, x = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    boxes = np.stack([x, y, x + cell, y + cell], axis=1)
    for row, column in ((0, 0), (3, 7), (12, 5), (13, 13)):
        image = np.zeros((side, side, 3), np.uint8)
        image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 255
        seen = brightest(regions, image, boxes) > 0.5
        np.testing.assert_array_equal(seen, (y == row * cell) & (x == column * cell))


def test_rcnn_sees_the_window_and_its_context_only():
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:120, 100:180] = 255
    regions = RCNNRegions(averages(), FcHead(3, (2, 2), 1), (1,))
    boxes = [(100, 60, 180, 120), (0, 0, 90, 200), (200, 10, 290, 190), (20, 0, 99, 200)]
    on_it, left, right, near = brightest(regions, image, boxes)
    assert on_it > 0.99
    assert left < 0.01
    assert right < 0.01
    assert near > 0.05  # its context reaches the block
