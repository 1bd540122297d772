"""A convolution over blocks of pixels, as a GPU computes AlexNet's first one: the same values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spp_det.networks.convolution import ReluBehind, ReluConv2d, by_blocks, relu_by_cudnn


@pytest.mark.parametrize("size", [(57, 83), (60, 61), (23, 31), (64, 64)])
@pytest.mark.parametrize(("kernel", "padding"), [(11, 2), (11, 0), (7, 3), (8, 5), (4, 0)])
def test_the_same_values(size, kernel, padding):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator)
    weight = torch.randn(5, 3, kernel, kernel, dtype=torch.float64, generator=generator)
    blocks, of_blocks = by_blocks(x, weight, 4, (padding, padding))
    found = nn.functional.conv2d(blocks, of_blocks)
    torch.testing.assert_close(found, nn.functional.conv2d(x, weight, stride=4, padding=padding))
    for each in (blocks, of_blocks):
        assert each.is_contiguous(memory_format=torch.channels_last)


def test_which_convolutions_take_their_relu():
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.MaxPool2d(2),
    ]
    body = relu_by_cudnn(nn.Sequential(*layers, nn.ReLU()))
    changed = [isinstance(layer, (ReluConv2d, ReluBehind)) for layer in body]
    assert changed == [True, True, False, False, False, False, False]
    x = torch.randn(1, 3, 20, 20)
    plain = nn.Sequential(*(layers[0:1]))(x).relu()
    torch.testing.assert_close(body[:2](x), plain)
