"""Rewrites of convolutions that keep what they compute: for speed, and for the same bytes on any thread count."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class PointwiseConv2d(nn.Conv2d):
    """A 1 x 1 convolution that oneDNN computes on any CPU thread count.

    torch hands a single image's 1 x 1 convolution to another routine where there is one thread, which is slower here
    (EfficientNet-Lite0 takes 1.2 times as long) and rounds differently, so that bytes would depend on the threads.
    """

    def forward(self, x: Tensor) -> Tensor:
        """float32 [B, in_channels, H, W] -> [B, out_channels, H', W']."""
        if x.device.type != "cpu" or x.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
            return super().forward(x)
        assert not isinstance(self.padding, str)
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


def pointwise_by_onednn(module: nn.Module) -> nn.Module:
    """The module, each plain 1 x 1 convolution in it made a PointwiseConv2d."""
    for child in module.modules():
        if type(child) is nn.Conv2d and child.kernel_size == (1, 1) and child.padding == (0, 0):
            child.__class__ = PointwiseConv2d
    return module


class ReluConv2d(nn.Conv2d):
    """A convolution with a ReLU behind it, both of which cuDNN computes in one kernel, where no gradient is wanted."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H', W']."""
        if not _with_relu(x):
            return super().forward(x)
        weight, stride, padding = self.weight, self.stride, self.padding
        assert not isinstance(padding, str)
        if self.in_channels == 3 and stride == (4, 4) and self.dilation == (1, 1):
            x, weight = by_blocks(x, weight, 4, padding)
            stride, padding = (1, 1), (0, 0)
        return torch.cudnn_convolution_relu(x, weight, self.bias, stride, padding, self.dilation, self.groups)


class ReluBehind(nn.ReLU):
    """The ReLU behind a ReluConv2d."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x if _with_relu(x) else super().forward(x)


def _with_relu(x: Tensor) -> bool:
    return x.device.type == "cuda" and x.dtype in (torch.bfloat16, torch.float16) and not torch.is_grad_enabled()


def relu_by_cudnn(module: nn.Module) -> nn.Module:
    """The module, each plain convolution in it that a ReLU follows made a ReluConv2d."""
    for part in module.modules():
        for conv, relu in pairwise(part.children()) if isinstance(part, nn.Sequential) else ():
            plain = type(conv) is nn.Conv2d and conv.groups == 1 and conv.padding_mode == "zeros"
            if plain and type(relu) is nn.ReLU and not isinstance(conv.padding, str):
                conv.__class__, relu.__class__ = ReluConv2d, ReluBehind
    return module


def by_blocks(x: Tensor, weight: Tensor, stride: int, padding: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Input and weights of the same convolution over blocks of stride x stride pixels, at stride 1 and not padded.

    A GPU's matrix units have no use for three channels, but for 48: AlexNet's conv1 takes a third of the time.
    x: [B, C, H, W]; weight: [D, C, k, l]; padding: of rows and columns.
    """
    sides = []
    for side, kernel, pad in zip(x.shape[2:], weight.shape[2:], padding, strict=True):
        count = (side + 2 * pad - kernel) // stride + 1  # of the output
        sides.append((pad, (count - 1 - -kernel // stride) * stride - side - pad, -kernel % stride))
    (top, bottom, below), (left, right, behind) = sides
    x = nn.functional.pad(x, (left, right, top, bottom))
    return _blocks(x, stride), _blocks(nn.functional.pad(weight, (0, behind, 0, below)), stride)


def _blocks(x: Tensor, side: int) -> Tensor:
    """[B, C, H, W] -> [B, side * side * C, H / side, W / side], channels last in memory."""
    whole = x.permute(0, 2, 3, 1).unflatten(2, (-1, side)).unflatten(1, (-1, side))  # [B, h, side, w, side, C]
    return whole.transpose(2, 3).flatten(3).permute(0, 3, 1, 2)


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """The module, the normalisation after each convolution folded into its weights and bias.

    For modules whose children stand in the order in which they run, as timm's EfficientNet blocks do. A norm that
    holds an activation (timm's BatchNormAct2d) leaves that.
    """
    conv: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            if conv is None:
                raise ValueError(f"no convolution stands before the normalisation {name}")
            assert child.running_mean is not None
            assert child.running_var is not None
            conv.weight, bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, child.running_mean, child.running_var, child.eps, child.weight, child.bias
            )
            conv.bias = nn.Parameter(bias)
            setattr(module, name, getattr(child, "act", nn.Identity()))
            conv = None
        elif isinstance(child, nn.Conv2d):
            conv = child
        else:
            fold_batchnorm(child)
    return module


def pad_evenly(module: nn.Module) -> nn.Module:
    """The module, each stride-2 convolution with TensorFlow's SAME padding made an ordinary one, for even sides.

    On an even side SAME pads one cell less before than after. A leading tap of zero makes the two equal, and the
    convolution then pads by itself, which spares the copy that padding apart would take.
    """
    from timm.layers import Conv2dSame

    for name, child in list(module.named_children()):
        if isinstance(child, Conv2dSame):
            setattr(module, name, _padded_evenly(child))
        else:
            pad_evenly(child)
    return module


def _padded_evenly(same: nn.Conv2d) -> nn.Conv2d:
    kernel = same.kernel_size[0]
    if same.kernel_size != (kernel, kernel) or kernel % 2 == 0 or same.stride != (2, 2) or same.dilation != (1, 1):
        raise ValueError(f"not a square odd kernel with stride 2 and no dilation: {same}")
    conv = nn.Conv2d(
        same.in_channels,
        same.out_channels,
        kernel + 1,
        stride=2,
        padding=kernel // 2,
        groups=same.groups,
        bias=same.bias is not None,
    )
    conv.weight = nn.Parameter(nn.functional.pad(same.weight.detach(), (1, 0, 1, 0)))
    conv.bias = same.bias
    return conv
