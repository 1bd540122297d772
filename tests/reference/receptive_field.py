"""Where the pixels lie that move a cell of a map, by gradients through the network itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def make_positive(body: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random positive kernels that sum to 1 and norms that do nothing: no path is ever dead.

    Kernels that are zero at a place stay so there. A mean stands for each maximum, which any pixel under it may win.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            kernel = torch.rand(module.weight.shape, generator=generator) + 0.5
            kernel = torch.where(module.weight == 0, 0.0, kernel)
            module.weight.data = kernel / kernel.sum(dim=(1, 2, 3), keepdim=True)
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.fill_(1.0)
            module.bias.data.zero_()
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(module, name, mean)
    return body


def support(body: nn.Module, size: tuple[int, int], padded: tuple[int, int], cell: int, axis: int) -> Tensor:
    """bool [size[axis]]: which rows (axis 0) or columns (axis 1) of an image move row or column `cell` of its map.

    size: the image's; padded: that of the input, which is zero outside of the image.
    """
    image = (1e-3 * torch.ones(1, 3, *size)).requires_grad_()
    x = nn.functional.pad(image, (0, padded[1] - size[1], 0, padded[0] - size[0]))
    line = body(x).select(2 + axis, cell)
    (gradient,) = torch.autograd.grad(line.sum(), image)
    return (gradient != 0).any(dim=3 - axis).any(dim=1)[0]
