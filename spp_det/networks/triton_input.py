"""An image as a network takes it, made on a GPU by Triton: resized, looked up and padded in one pass.

It is resized as OpenCV does it, bilinear in whole numbers: weights of 11 bits, and the same shifts. Where OpenCV rounds
a weight the other way, a value differs by one of 255 levels: by about one pixel of 500.
"""

# ruff: noqa: N803 (Triton's constants are written large)

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from spp_det.structures import Size

BLOCK = 256  # pixels of a program


def resized_input(pixels: Tensor, size: Size, padded: Size, table: Tensor, flip: bool) -> Tensor:
    """The input of `pixels`, uint8 [H, W, 3], resized to `size` and padded by zeros to `padded`, where they lie.

    table: [3, 256], what each value becomes in each of the network's channels; flip: whether these are bgr. Returns a
    tensor of the table's type, [3, H', W'], dense in memory as [H', W', 3].
    """
    out = (torch.empty if size == padded else torch.zeros)((*padded, 3), dtype=table.dtype, device=pixels.device)
    with torch.cuda.device_of(pixels):
        grid = size[0], triton.cdiv(size[1], BLOCK)
        _resize[grid](pixels, table, out, pixels.shape[0], pixels.shape[1], *size, padded[1], flip, BLOCK)
    return out.permute(2, 0, 1)


# A size of 1 would else become a constant, which has no type.
@triton.jit(do_not_specialize=["height", "width", "new_height", "new_width"])
def _resize(  # type: ignore[no-untyped-def]
    pixels, table, out, height, width, new_height, new_width, padded_width, FLIP: tl.constexpr, BLOCK: tl.constexpr
):
    y = tl.program_id(0)
    x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = x < new_width
    top, below, upper, lower = _between(y, height, new_height)
    left, right, before, behind = _between(x, width, new_width)
    for channel in tl.static_range(3):
        source = 2 - channel if FLIP else channel
        a = tl.load(pixels + (top * width + left) * 3 + source, mask=inside, other=0).to(tl.int32)
        b = tl.load(pixels + (top * width + right) * 3 + source, mask=inside, other=0).to(tl.int32)
        c = tl.load(pixels + (below * width + left) * 3 + source, mask=inside, other=0).to(tl.int32)
        d = tl.load(pixels + (below * width + right) * 3 + source, mask=inside, other=0).to(tl.int32)
        first, second = a * before + b * behind, c * before + d * behind
        value = (((upper * (first >> 4)) >> 16) + ((lower * (second >> 4)) >> 16) + 2) >> 2
        found = tl.load(table + channel * 256 + value, mask=inside)
        tl.store(out + (y.to(tl.int64) * padded_width + x) * 3 + channel, found, mask=inside)


@triton.jit
def _between(place, count, new_count):  # type: ignore[no-untyped-def]
    """The two of `count` pixels that a place of `new_count` lies between, and their weights in 2048ths."""
    step = 1.0 / (new_count.to(tl.float64) / count.to(tl.float64))
    exact = ((place.to(tl.float64) + 0.5) * step - 0.5).to(tl.float32)
    first = tl.floor(exact).to(tl.int32)
    share = exact - tl.floor(exact)
    share = tl.where((first < 0) | (first >= count - 1), 0.0, share)
    first = tl.minimum(tl.maximum(first, 0), count - 1)
    second = tl.minimum(first + 1, count - 1)
    return first, second, _rounded((1.0 - share) * 2048), _rounded(share * 2048)


@triton.jit
def _rounded(value):  # type: ignore[no-untyped-def]
    return tl.floor(value + 0.5).to(tl.int32)
