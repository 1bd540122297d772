"""The geometry of a network that states none, read off its gradients."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from spp_det.errors import ConfigError

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
_CELLS_APART = 4
_LENGTH, _WIDTH = 1024, 32  # of the strip looked at: long enough that borders do not matter, narrow to be quick


def probe_geometry(module: nn.Module, size_multiple: int = 32) -> tuple[int, float, int]:
    """(stride, offset, channels) of a convolutional network, float32 [B, 3, H, W] -> [B, channels, h, w].

    Its map's cell c is centred at pixel offset + stride * c, counted from 0, in inputs whose sides are multiples of
    `size_multiple`. Raises ConfigError where no such rule holds, as in a network with attention over the whole image.

    A copy with constant kernels and without normalisation is nearly linear around a small positive input, where gates
    are constant too; the gradient of one cell is then symmetric about its centre, and the centroid is the centre.
    """
    linear = _linearised(module)
    rows, columns = (_axis(linear, axis, size_multiple) for axis in (2, 3))
    if rows != columns:
        raise ConfigError(f"the map's rows and columns (stride, offset, channels) differ: {rows} and {columns}")
    return rows


def _axis(linear: nn.Module, axis: int, size_multiple: int) -> tuple[int, float, int]:
    """(stride, offset, channels) along the rows (axis 2) or the columns (axis 3)."""
    shape = [1, 3, -(-_WIDTH // size_multiple) * size_multiple, -(-_WIDTH // size_multiple) * size_multiple]
    shape[axis] = -(-_LENGTH // size_multiple) * size_multiple
    image = torch.full(shape, 1e-6, requires_grad=True)
    features = linear(image)
    if features.ndim != 4 or features.shape[axis] < 3 * _CELLS_APART:
        raise ConfigError(f"a trunk gives a map [B, C, h, w]; an input {shape} became {list(features.shape)}")
    cells = features.sum(dim=(0, 1, 5 - axis))
    cell = len(cells) // 2 - _CELLS_APART // 2
    first, second = (_centroid(cells[c], image, axis) for c in (cell, cell + _CELLS_APART))
    stride = (second - first) / _CELLS_APART
    offset = first - stride * cell
    if not (stride > 0.9 and _near(stride, 1.0) and _near(second, 0.5)):
        raise ConfigError(f"the map's cells lie on no regular grid: stride {stride:.3f}, first centre {offset:.3f}")
    return round(stride), round(2 * (second - round(stride) * (cell + _CELLS_APART))) / 2, features.shape[1]


def _centroid(cell: Tensor, image: Tensor, axis: int) -> float:
    """The mean position, in pixels along an axis, of what moves a cell."""
    (gradient,) = torch.autograd.grad(cell, image, retain_graph=True)
    weight = gradient.abs().sum(dim=(0, 1, 5 - axis))
    return float((weight.double() * torch.arange(len(weight))).sum() / weight.double().sum())


def _near(value: float, unit: float) -> bool:
    return abs(value / unit - round(value / unit)) < 0.05


def _linearised(module: nn.Module) -> nn.Module:
    """A copy: each kernel the mean over what it sees, norms taken out, maxima become means."""
    linear = copy.deepcopy(module).eval().requires_grad_(False)
    for layer in list(linear.modules()):
        for name, child in list(layer.named_children()):
            if isinstance(child, _NORMS):
                setattr(layer, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(layer, name, mean)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.constant_(layer.weight, 1.0 / layer.weight[0].numel())
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return linear
