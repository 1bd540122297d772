"""Spatial pyramid pooling of all windows of a map in one call."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeGuard, overload

import numba
import numpy as np
import numpy.typing as npt

from spp_det.pooling.kernel import grow_squares, pool_kernel
from spp_det.pooling.pyramid import PAPER_LEVELS, check_levels, vector_length
from spp_det.pooling.vectors import WIDTH

if TYPE_CHECKING:  # numpy arrays are pooled without torch
    import torch

Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int64]


@overload
def pool_windows(
    feature_map: torch.Tensor,
    windows: Cells | torch.Tensor,
    levels: Sequence[int] = ...,
    out: torch.Tensor | None = ...,
    rows: Cells | torch.Tensor | None = ...,
) -> torch.Tensor: ...


@overload
def pool_windows(
    feature_map: npt.NDArray[np.floating[Any]],
    windows: Cells | torch.Tensor,
    levels: Sequence[int] = ...,
    out: Floats | None = ...,
    rows: Cells | torch.Tensor | None = ...,
) -> Floats: ...


def pool_windows(
    feature_map: npt.NDArray[np.floating[Any]] | torch.Tensor,
    windows: Cells | torch.Tensor,
    levels: Sequence[int] = PAPER_LEVELS,
    out: Floats | torch.Tensor | None = None,
    rows: Cells | torch.Tensor | None = None,
) -> Floats | torch.Tensor:
    """Max-pool each window of a map by a spatial pyramid.

    feature_map: float32 or float16 [C, h, w] without NaN, numpy or a torch tensor on the CPU (no gradient flows).
        Fastest if its memory is [h, w, C] (channels last); another order, and float16, is copied once.
    windows: int64 [R, 4], cells (x0, y0, x1, y1), both ends within: 0 <= x0 <= x1 < w.
    levels: n of each n x n level.
    out: float32 [*, C * bins], contiguous, of the map's kind; written and returned. Without it a new one is made,
        which costs about as much as the pooling: keep one where there are many calls.
    rows: int64 [R], the row of `out` for each window, each at most once; row r for window r by default.

    Returns float32 [R, C * bins]: level-major in the order of `levels`, then channel, then bin row-major, as fc6 of
    the release expects (SPP_net: spm_pool_caffe_mex.cpp:218-234). Each bin equals torch's `adaptive_max_pool2d` of
    the window, bit for bit; the result does not depend on the number of threads (`numba.set_num_threads`).

    Raises ValueError for arguments of another dtype or shape, and for a window that is empty or leaves the map.
    """
    levels = check_levels(levels)
    cells = _check_map(_to_numpy(feature_map))
    height, width, channels = cells.shape
    boxes = _check_windows(_to_numpy(windows), height, width)
    as_tensor = _is_tensor(feature_map)
    if out is None:
        if rows is not None:
            raise ValueError("rows choose among those of out: give both")
        shape = (len(boxes), vector_length(channels, levels))
        out = np.empty(shape, np.float32)
        if as_tensor:
            import torch

            out = torch.from_numpy(out)
    elif _is_tensor(out) != as_tensor:
        raise ValueError("out and feature_map are both numpy arrays, or both torch tensors")
    target = _check_out(_to_numpy(out), len(boxes), vector_length(channels, levels), rows is not None)
    places = np.arange(len(boxes)) if rows is None else _check_rows(_to_numpy(rows), len(boxes), len(target))
    if len(boxes):
        plan = pooling_plan(levels)
        squares = _squares(cells, boxes, plan)
        pool_kernel(squares, boxes, plan, places, target, cells.shape[2], numba.get_num_threads())
    return out


def _is_tensor(array: object) -> TypeGuard[torch.Tensor]:
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    return torch is not None and isinstance(array, torch.Tensor)


def _to_numpy(array: npt.NDArray[Any] | torch.Tensor) -> npt.NDArray[Any]:
    return array.detach().numpy() if _is_tensor(array) else np.asarray(array)


def _check_map(feature_map: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The map as [h, w, C], a view."""
    if feature_map.ndim != 3 or feature_map.size == 0 or feature_map.dtype not in (np.float32, np.float16):
        raise ValueError(
            f"a feature map is float32 or float16 [C, h, w], not {feature_map.dtype} {list(feature_map.shape)}"
        )
    return feature_map.transpose(1, 2, 0)


def _check_windows(windows: npt.NDArray[Any], height: int, width: int) -> Cells:
    if windows.ndim != 2 or windows.shape[1] != 4 or windows.dtype != np.int64:
        raise ValueError(f"windows are int64 [R, 4], not {windows.dtype} {list(windows.shape)}")
    x0, y0, x1, y1 = windows.T
    wrong = (x0 < 0) | (y0 < 0) | (x1 < x0) | (y1 < y0) | (x1 >= width) | (y1 >= height)
    if wrong.any():
        raise ValueError(f"window {windows[wrong][0].tolist()} is empty or leaves the map of {width} x {height} cells")
    return np.ascontiguousarray(windows)


def _check_out(out: npt.NDArray[Any], num: int, length: int, more_rows: bool) -> Floats:
    fits = out.ndim == 2 and out.shape[1] == length and (len(out) == num or more_rows)
    if not fits or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(
            f"out is a contiguous float32 [{'*' if more_rows else num}, {length}], not {out.dtype} {list(out.shape)}"
        )
    return out


def _check_rows(rows: npt.NDArray[Any], num: int, limit: int) -> Cells:
    if rows.shape != (num,) or rows.dtype != np.int64:
        raise ValueError(f"rows are int64 [{num}], not {rows.dtype} {list(rows.shape)}")
    if num and (rows.min() < 0 or rows.max() >= limit or len(np.unique(rows)) < num):
        raise ValueError(f"rows must differ from each other and lie in 0 .. {limit - 1}")
    return np.ascontiguousarray(rows)


@lru_cache(maxsize=64)
def pooling_plan(levels: tuple[int, ...]) -> Cells:
    """Finest level first, each taken from the smallest level that it divides: `plan` of `pool_kernel`, int64 [L, 4]."""
    starts = np.cumsum([0, *(n * n for n in levels)])
    done: list[tuple[int, int]] = []
    plan = []
    for n, start in sorted(zip(levels, starts[:-1].tolist(), strict=True), reverse=True):
        finer = [level for level in done if level[0] % n == 0]
        plan.append((n, start, *(min(finer) if finer else (0, 0))))
        done.append((n, start))
    return np.array(plan, np.int64)


def _squares(cells: npt.NDArray[Any], windows: Cells, plan: Cells) -> Floats:
    """`squares` of `pool_kernel`: the map alone, float32 [1, h, w, >= C], or more squares where they save work."""
    sides = np.minimum(windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]) + 1
    areas = (windows[:, 2] - windows[:, 0] + 1) * (windows[:, 3] - windows[:, 1] + 1)
    height, width, channels = cells.shape
    coarsest = plan[plan[:, 2] == 0, 0].min()  # of the levels that are taken from the map
    largest_bin = -(-int(sides.max()) // int(coarsest)) + 1
    num = largest_bin.bit_length() if areas.sum() > 4 * height * width else 1
    padded = -(-channels // WIDTH) * WIDTH
    if num == 1 and channels == padded:
        return np.ascontiguousarray(cells, np.float32)[None]
    squares = np.empty((num, height, width, padded), np.float32)
    squares[0, :, :, :channels] = cells
    squares[0, :, :, channels:] = 0
    grow_squares(squares, num)
    return squares
