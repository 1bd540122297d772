"""A trunk small enough to be tuned in a test."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from spp_det.networks import Preprocessing, Trunk

GRAY = Preprocessing(mean=(128.0, 128.0, 128.0), std=(64.0, 64.0, 64.0), maximum=255.0)


def tiny_trunk(weights: str = "random", input: str = "default") -> Trunk:
    """Two convolutions of stride 4 each: 16 channels; cell 0 is centred on pixel 7.5."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = OrderedDict(
            conv1=nn.Conv2d(3, 8, 4, stride=4),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, 4, stride=4),
            relu2=nn.ReLU(),
        )
        body = nn.Sequential(layers)
    return Trunk(
        body, name="tiny", out_channels=16, stride=16, offset=7.5, preprocessing=GRAY, size_multiple=4, min_side=16
    )
