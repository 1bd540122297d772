"""A map made ready for pooling, once for all calls that pool from it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from spp_det.pooling.kernel import grow_squares
from spp_det.pooling.vectors import LINE, reorder

if TYPE_CHECKING:  # numpy arrays are pooled without torch
    import torch


def is_tensor(array: object) -> TypeGuard[torch.Tensor]:
    """Whether it is a tensor of torch, which who has one has imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def bits_of(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A tensor of the CPU as an array of the same memory; numpy has no bfloat16: its bits as int16."""
    import torch

    return (tensor.detach().view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor.detach()).numpy()


class PreparedMap:
    """A map with the maxima of its squares, which `pool_windows` takes large bins from, kept from call to call.

    feature_map: as for `pool_windows`; it must not change as long as this lives. The squares take up to
    log2(longest side) times the memory of the map.
    shape: (h, w, C); dtype: of the vectors, numpy's or torch's, the map's own, or float32 for float16; is_tensor:
    whether it is a tensor; ordered: whether the squares are bits of bfloat16 that went through `reorder`.
    """

    def __init__(self, feature_map: npt.NDArray[np.floating[Any]] | torch.Tensor) -> None:
        self.is_tensor = is_tensor(feature_map)
        self.dtype: Any = np.dtype(np.float32)
        self.ordered = False
        self.on_device: torch.Tensor | None = None  # the map [h, w, C], dense, where that is not the CPU
        self._squares: npt.NDArray[Any] | None = None
        if is_tensor(feature_map):
            import torch

            self.dtype = torch.bfloat16 if feature_map.dtype == torch.bfloat16 else torch.float32
            if feature_map.device.type != "cpu":
                self.dtype = feature_map.dtype
                self.on_device = feature_map.detach().permute(1, 2, 0).contiguous()
                self.shape: tuple[int, ...] = tuple(self.on_device.shape)
                return
        self._cells = _cells(feature_map)
        self.shape = self._cells.shape
        self.ordered = bool(self._cells.dtype == np.int16 and self._cells.min() < 0)

    def squares(self, windows: npt.NDArray[np.int64], coarsest: int) -> npt.NDArray[Any]:
        """`squares` of `pool_kernel`: the map alone, [1, h, w, >= C], or more squares where they save work.

        windows: int64 [R, 4], R >= 1; coarsest: n of the coarsest level that is taken from the map.
        """
        sides = np.minimum(windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]) + 1
        areas = (windows[:, 2] - windows[:, 0] + 1) * (windows[:, 3] - windows[:, 1] + 1)
        height, width, channels = self.shape
        largest_bin = -(-int(sides.max()) // coarsest) + 1
        num = largest_bin.bit_length() if areas.sum() > 4 * height * width else 1
        if self._squares is not None and len(self._squares) >= num:
            return self._squares
        cells = self._cells
        kind = np.int16 if cells.dtype == np.int16 else np.float32
        step = LINE // np.dtype(kind).itemsize
        padded = -(-channels // step) * step
        if num == 1 and channels == padded and not self.ordered:
            return np.ascontiguousarray(cells, kind)[None]
        squares = np.empty((num, height, width, padded), kind)
        squares[0, :, :, :channels] = cells
        squares[0, :, :, channels:] = 0
        if self.ordered:
            reorder(squares.reshape(-1), 0, height * width * padded)
        grow_squares(squares, num)
        self._squares = squares
        return squares


def _cells(feature_map: npt.NDArray[Any] | torch.Tensor) -> npt.NDArray[Any]:
    """The map as [h, w, C], a view; bfloat16 as int16, its bits."""
    array = bits_of(feature_map) if is_tensor(feature_map) else np.asarray(feature_map)
    allowed = (
        (np.float32, np.float16, np.int16) if str(feature_map.dtype) == "torch.bfloat16" else (np.float32, np.float16)
    )
    if array.ndim != 3 or array.size == 0 or array.dtype not in allowed:
        raise ValueError(
            f"a feature map is float32, float16 or bfloat16 [C, h, w], not {feature_map.dtype} {list(array.shape)}"
        )
    return array.transpose(1, 2, 0)
