"""torchvision's Faster R-CNN over our trunk runs, and sees what our detector sees. No time itself is asserted."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from spp_det.evaluation.faster_rcnn_peer import faster_rcnn, faster_rcnn_sides, time_whole, whole_table
from spp_det.networks import build_trunk
from spp_det.networks.trunk import Preprocessing, Trunk

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.fixture
def trunk():
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=16, padding=1), torch.nn.ReLU())
    return Trunk(
        body,
        name="tiny",
        out_channels=8,
        stride=16,
        offset=0.0,
        preprocessing=Preprocessing((128.0,) * 3, (64.0,) * 3, maximum=255.0),
    )


def test_it_finds_boxes_in_both_precisions(trunk):
    sides = faster_rcnn_sides(faster_rcnn(trunk, 120, 2))
    for side in sides.values():
        (found,) = side(IMAGE)
        assert found["boxes"].shape == (len(found["scores"]), 4)
        assert (found["labels"] >= 1).all()


def test_it_sees_what_the_trunk_is_given(trunk):
    model = faster_rcnn(trunk, 60, 2)
    tensor = torch.from_numpy(IMAGE).permute(2, 0, 1).float().div(255)
    theirs = model.transform([tensor])[0].tensors[0, :, :60, :90]
    torch.testing.assert_close(theirs, trunk.tensor(IMAGE), rtol=0, atol=1e-5)
    assert model.backbone.body[0].weight is not trunk.body[0].weight
    torch.testing.assert_close(model.backbone.body[0].weight, trunk.body[0].weight)


def test_every_side_is_timed():
    calls = {"one": 0, "two": 0}

    def count(name):
        calls[name] += 1

    shown = []
    seconds = time_whole(
        [IMAGE] * 3,
        {name: lambda image, name=name: count(name) for name in calls},
        lambda done, of: shown.append((done, of)),
    )
    assert calls == {"one": 4, "two": 4}
    assert shown == [(1, 3), (2, 3), (3, 3)]
    text = io.StringIO()
    Console(file=text, width=80).print(whole_table(seconds, 3))
    assert "one" in text.getvalue()
    assert "median of 3" in text.getvalue()


def test_the_default_trunk_fits():
    model = faster_rcnn(build_trunk("efficientnet_lite0"), 96, 20)
    assert len(faster_rcnn_sides(model)["Faster R-CNN, float32"](IMAGE)) == 1
