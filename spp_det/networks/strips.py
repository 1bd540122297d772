"""A trunk's pass over a large image, strip by strip, so that its memory stays bounded.

A cell of the map sees only so many pixels around its centre. A strip of the image that is wider than its cells by as
much gives them the values that the whole image gives them, to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from spp_det.networks.normalisation import AcrossChannels, WithinChannel
from spp_det.networks.trunk import Trunk, output_size

BUDGET = 900_000_000  # bytes of a layer's input and output together
PROBE = 256  # px: sides of the input by which a trunk's memory is found out
_known: WeakKeyDictionary[Trunk, Extent] = WeakKeyDictionary()
_POINTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.Identity,
    nn.BatchNorm2d,
    nn.Dropout,
    AcrossChannels,
)


@dataclass(frozen=True)
class Extent:
    """What a trunk needs: bytes of its largest layer's input and output for one pixel of the image, and `reach`, the
    pixels that a cell may see on each side of its centre; None where that is the whole image, or is not known.
    """

    bytes_per_pixel: float
    reach: int | None


def extent(trunk: Trunk) -> Extent:
    """The extent of a trunk in float32, of which other types need half."""
    if trunk in _known:
        return _known[trunk]
    largest = 0

    def look(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal largest
        largest = max(largest, sum(each.numel() for each in (*inputs, output) if isinstance(each, Tensor)))

    leaves = [module for module in trunk.body.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(look) for leaf in leaves]
    height, width = trunk.padded_size((PROBE, PROBE))
    try:
        output_size(trunk.body, (height, width))
    finally:
        for hook in hooks:
            hook.remove()
    _known[trunk] = Extent(4 * largest / (height * width), _reach(leaves))
    return _known[trunk]


def _bytes_per_pixel(trunk: Trunk) -> float:
    return extent(trunk).bytes_per_pixel * trunk.dtype.itemsize / 4


def _reach(leaves: list[nn.Module]) -> int | None:
    """The sum of what each layer adds, as if they stood one behind the other: never too little, where none is unknown.

    Layers beside each other, as a block and its shortcut, count twice.
    """
    pixels, stride = 0, 1
    for layer in leaves:
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
            kernel, step = _largest(layer.kernel_size), _largest(layer.stride or layer.kernel_size)
            dilation = _largest(getattr(layer, "dilation", 1))
            pixels += (kernel - 1) * dilation * stride
            stride *= step
        elif isinstance(layer, WithinChannel):
            pixels += (layer.size - 1) * stride
        elif not isinstance(layer, _POINTWISE):
            return None
    return pixels


def _largest(sizes: int | tuple[int, ...]) -> int:
    return sizes if isinstance(sizes, int) else max(sizes)


def pixels_within(trunk: Trunk) -> int | None:
    """How many pixels an image may have whose pass stays within BUDGET; None: any, since it may be cut into strips."""
    return None if extent(trunk).reach is not None else int(BUDGET / _bytes_per_pixel(trunk))


def compute_in_strips(trunk: Trunk, x: Tensor) -> Tensor:
    """`trunk.compute` of one image [1, 3, H, W], in as many strips as BUDGET asks for; mostly one."""
    if extent(trunk).reach is None or x.shape[2] * x.shape[3] * _bytes_per_pixel(trunk) <= BUDGET:
        return trunk.compute(x)
    turned = x.shape[3] > x.shape[2]  # strips lie across the longer side
    parts = [_strip(trunk, x, strip, turned) for strip in _strips(trunk, max(x.shape[2:]), min(x.shape[2:]))]
    return torch.cat(parts, dim=3 if turned else 2)


def _strips(trunk: Trunk, length: int, width: int) -> list[tuple[int, int, int, int]]:
    """(first pixel, one past the last, first cell, one past the last) of each strip of an input of a length."""
    reach = extent(trunk).reach
    assert reach is not None
    unit = math.lcm(trunk.stride, trunk.size_multiple)
    margin = -(-reach // unit) * unit
    most = max(unit, int(BUDGET / (width * _bytes_per_pixel(trunk))) - 2 * margin)
    num = -(-length // most)
    own = -(-length // (num * unit)) * unit  # pixels of the cells of one strip
    bounds = [(first, min(first + own, length)) for first in range(0, length, own)]
    stride, end = trunk.stride, trunk.map_size((length, length))[0]  # padded layers have cells beyond the input
    cells = [(a // stride, b // stride if b < length else max(end, a // stride)) for a, b in bounds]
    return [(max(0, a - margin), min(length, b + margin), *part) for (a, b), part in zip(bounds, cells, strict=True)]


def _strip(trunk: Trunk, x: Tensor, strip: tuple[int, int, int, int], turned: bool) -> Tensor:
    """The cells of one strip, a copy: the whole map of a strip need not stay."""
    start, end, first, last = strip
    side = 3 if turned else 2
    cells = trunk.compute(x.narrow(side, start, end - start))
    skipped = first - start // trunk.stride
    kept = slice(skipped, skipped + last - first)  # at the end there may be fewer, or none
    return (cells[..., kept] if turned else cells[..., kept, :]).clone(memory_format=torch.channels_last)
