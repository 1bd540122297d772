"""torchvision's Faster R-CNN over one of our trunks: what a user would pick instead, to measure `detect` against."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from spp_det.networks import Trunk
from spp_det.structures import Image

ANCHOR_SIZES = (32, 64, 128, 256, 512)  # px, torchvision's own
Side = Callable[[Image], Any]


class _Backbone(nn.Module):
    """A trunk's layers under the name that torchvision looks for."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.body = trunk.body
        self.out_channels = trunk.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.contiguous(memory_format=torch.channels_last)).float()  # else anchors come in bfloat16


def faster_rcnn(trunk: Trunk, short_side: int, num_classes: int) -> FasterRCNN:
    """Faster R-CNN on a copy of a trunk, otherwise at torchvision's settings; its other layers are untrained.

    short_side: px of the image; num_classes: without background.
    """
    prepared = trunk.preprocessing
    model = FasterRCNN(
        _Backbone(copy.deepcopy(trunk)),
        num_classes + 1,
        min_size=short_side,
        max_size=2 * short_side,
        image_mean=[value / prepared.maximum for value in prepared.mean],
        image_std=[value / prepared.maximum for value in prepared.std],
        rpn_anchor_generator=AnchorGenerator((ANCHOR_SIZES,), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
    )
    return model.eval()


def faster_rcnn_sides(model: FasterRCNN) -> dict[str, Side]:
    """The whole detection of an image, uint8 [H, W, 3], in float32 and, by torch's autocast, in bfloat16."""

    def detect(image: Image, half: bool) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return model([image_tensor(image)])

    return {
        "Faster R-CNN, float32": lambda image: detect(image, False),
        "Faster R-CNN, bfloat16": lambda image: detect(image, True),
    }


def image_tensor(image: Image) -> Tensor:
    """An image as torchvision's detectors take it: uint8 [H, W, 3] -> float32 [3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div(255)


def time_whole(
    images: Sequence[Image], sides: Mapping[str, Side], progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """The median seconds of an image for each side, the sides in turn, after one image to warm up."""
    for side in sides.values():
        side(images[0])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number, image in enumerate(images, 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side(image)
            seconds[name].append(time.perf_counter() - start)
        if progress:
            progress(number, len(images))
    return {name: statistics.median(of_side) for name, of_side in seconds.items()}


def whole_table(seconds: Mapping[str, float], count: int) -> Table:
    """The result of `time_whole` as a table to print."""
    table = Table(title=f"the whole of detect, proposals included; median of {count} images")
    table.add_column("")
    table.add_column("ms an image", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{1e3 * value:.0f}")
    return table
