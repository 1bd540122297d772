"""Class folders of generated images, and a trunk that is small enough to be trained in a test."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from torch import nn

from spp_det.networks import Preprocessing, Trunk
from spp_det.networks.pretrained import randomise

CLASSES = ("across", "along", "dots")


def make_folders(root: Path, per_class: int, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """Stripes across, stripes along, or both: pictures of many sizes in one folder a class."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            rng = np.random.default_rng([seed, label, number])
            height, width = rng.integers(48, 97, 2)
            y, x = np.mgrid[:height, :width] * rng.uniform(0.6, 1.2)
            wave = [np.sin(y), np.sin(x), np.sin(x) * np.sin(y)][label % 3]
            pixels = 127 + 80 * wave[..., None] * rng.uniform(0.5, 1, 3) + rng.normal(0, 10, (height, width, 3))
            PillowImage.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name / f"{number:03d}.png")
    return root


def small_trunk(weights: str = "random", input: str = "default") -> Trunk:
    """Three convolutions, stride 4, the geometry of padding by floor(k / 2): cell 0 on pixel 0."""
    body = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 5, stride=2, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(3, stride=2, padding=1),
            conv2=nn.Conv2d(8, 16, 3, padding=1),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(16, 16, 3, padding=1),
            relu3=nn.ReLU(),
        )
    )
    means = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), channel_order="bgr")
    return Trunk(randomise(body), name="small", out_channels=16, stride=4, offset=0.0, preprocessing=means)
