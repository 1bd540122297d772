from __future__ import annotations

import pytest
import torch
from reference.receptive_field import make_positive, support
from torch import nn

from spp_det.errors import ConfigError
from spp_det.networks import TRUNKS, build_trunk
from spp_det.networks.probe import probe_geometry

NAMES = [*TRUNKS, "timm:resnet18"]


@pytest.mark.parametrize("name", NAMES)
def test_cells_are_centred_where_the_trunk_says(name):
    trunk = build_trunk(name, weights="random")
    body = make_positive(trunk.body)
    for length, axis in ((997, 0), (1024, 1)):
        size = (length, 17) if axis == 0 else (17, length)
        cell = trunk.map_size(size)[axis] // 2
        pixels = support(body, size, trunk.padded_size(size), cell, axis).nonzero().flatten()
        first, last = int(pixels[0]), int(pixels[-1])
        assert first > 0, "the field is cut by the border, which would move its centre"
        assert last < length - 1
        assert len(pixels) == last - first + 1
        assert (first + last) / 2 == trunk.offset + trunk.stride * cell


@pytest.mark.parametrize("length", [401, 406, 415, 416])
def test_the_default_trunk_keeps_its_offset_at_any_length(length):
    trunk = build_trunk("efficientnet_lite0_expansion", weights="random")
    size = (length, 16)
    cell = trunk.map_size(size)[0] // 2
    pixels = support(make_positive(trunk.body), size, trunk.padded_size(size), cell, 0).nonzero().flatten()
    assert (int(pixels[0]) + int(pixels[-1])) / 2 == trunk.offset + trunk.stride * cell


@pytest.mark.parametrize("name", ["alexnet", "caffe_alexnet", "vgg16"])
def test_the_probe_finds_what_is_stated(name):
    trunk = build_trunk(name, weights="random")
    assert probe_geometry(trunk.body) == (trunk.stride, trunk.offset, trunk.out_channels)


def test_the_probe_sees_a_shift_by_half_a_pixel():
    body = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1))
    assert probe_geometry(body) == (4, 0.5, 6)


def test_the_probe_refuses_a_network_without_a_grid():
    class Global(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3), keepdim=True) + torch.zeros_like(x)

    with pytest.raises(ConfigError, match="no regular grid"):
        probe_geometry(Global())


def test_the_probe_refuses_a_network_without_a_map():
    with pytest.raises(ConfigError, match=r"a map \[B, C, h, w\]"):
        probe_geometry(nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveMaxPool2d(1)))


def test_the_probe_refuses_rows_unlike_columns():
    with pytest.raises(ConfigError, match="differ"):
        probe_geometry(nn.Conv2d(3, 4, 3, stride=(2, 4)))
