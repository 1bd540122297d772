"""Spatial pyramid pooling of all windows of a map in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from spp_det.pooling.kernel import pool_kernel
from spp_det.pooling.prepared import PreparedMap, bits_of, is_tensor
from spp_det.pooling.pyramid import PAPER_LEVELS, check_levels, vector_length
from spp_det.threads import numba_threads

if TYPE_CHECKING:  # numpy arrays are pooled without torch
    import torch

Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int64]

CACHED = 1 << 24  # bytes of vectors that the caches may still hold when the next stage reads them


@overload
def pool_windows(
    feature_map: torch.Tensor | PreparedMap,
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
    feature_map: npt.NDArray[np.floating[Any]] | torch.Tensor | PreparedMap,
    windows: Cells | torch.Tensor,
    levels: Sequence[int] = PAPER_LEVELS,
    out: Floats | torch.Tensor | None = None,
    rows: Cells | torch.Tensor | None = None,
) -> Floats | torch.Tensor:
    """Max-pool each window of a map by a spatial pyramid.

    feature_map: float32 or float16 [C, h, w] without NaN, numpy or a torch tensor (no gradient flows), or a tensor of
        bfloat16; or a PreparedMap of one, for several calls on the same map. Fastest if its memory is [h, w, C]
        (channels last); another order, and on a CPU float16, is copied once. On a GPU Triton's kernel pools it.
    windows: int64 [R, 4], cells (x0, y0, x1, y1), both ends within: 0 <= x0 <= x1 < w.
    levels: n of each n x n level.
    out: [*, C * bins], contiguous, of the map's kind, float32, or bfloat16 as the map is; written and returned. Without
        it a new one is made, which costs about as much as the pooling: keep one where there are many calls.
    rows: int64 [R], the row of `out` for each window, each at most once; row r for window r by default.

    Returns [R, C * bins]: level-major in the order of `levels`, then channel, then bin row-major, as fc6 of
    the release expects (SPP_net: spm_pool_caffe_mex.cpp:218-234). Each bin equals torch's `adaptive_max_pool2d` of
    the window, bit for bit; the result does not depend on the number of threads (`numba.set_num_threads`).

    Raises ValueError for arguments of another dtype or shape, and for a window that is empty or leaves the map.
    """
    levels = check_levels(levels)
    prepared = feature_map if isinstance(feature_map, PreparedMap) else PreparedMap(feature_map)
    height, width, channels = prepared.shape
    boxes = _check_windows(_to_numpy(windows), height, width)
    if prepared.on_device is not None:
        return _pool_on_device(prepared, prepared.on_device, boxes, levels, out, rows)
    if out is None:
        if rows is not None:
            raise ValueError("rows choose among those of out: give both")
        shape = (len(boxes), vector_length(channels, levels))
        if prepared.is_tensor:
            import torch

            out = torch.empty(shape, dtype=prepared.dtype)
        else:
            out = np.empty(shape, np.float32)
    elif is_tensor(out) != prepared.is_tensor:
        raise ValueError("out and feature_map are both numpy arrays, or both torch tensors")
    target = _check_out(out, prepared, (len(boxes), vector_length(channels, levels)), rows is not None)
    places = np.arange(len(boxes)) if rows is None else _check_rows(_to_numpy(rows), len(boxes), len(target))
    if len(boxes):
        plan = pooling_plan(levels)
        squares = prepared.squares(boxes, int(plan[plan[:, 2] == 0, 0].min()))
        past_caches = len(boxes) * target.shape[1] * target.itemsize > CACHED
        workers = numba_threads()
        pool_kernel(squares, boxes, plan, places, target, channels, workers, prepared.ordered, past_caches)
    return out


def _pool_on_device(
    prepared: PreparedMap,
    cells: torch.Tensor,
    boxes: Cells,
    levels: tuple[int, ...],
    out: npt.NDArray[Any] | torch.Tensor | None,
    rows: Cells | torch.Tensor | None,
) -> torch.Tensor:
    import torch

    from spp_det.pooling.triton_kernel import pool_on_device  # not on every machine

    shape = len(boxes), vector_length(prepared.shape[2], levels)
    places = np.arange(len(boxes)) if rows is None else _to_numpy(rows)
    if out is None:
        out = torch.empty(shape, dtype=prepared.dtype, device=cells.device)
    fits = isinstance(out, torch.Tensor) and out.device == cells.device and out.dtype == prepared.dtype
    if not fits or out.ndim != 2 or out.shape[1] != shape[1] or not out.is_contiguous():  # type: ignore[union-attr]
        raise ValueError(f"out is a contiguous {prepared.dtype} [*, {shape[1]}] where the map lies, not {out}")
    assert isinstance(out, torch.Tensor)
    places = _check_rows(places, len(boxes), len(out))
    if len(boxes):
        _, width, channels = prepared.shape
        on_map = np.concatenate([np.broadcast_to((0, width), (len(boxes), 2)), boxes], axis=1)
        windows, into = (torch.from_numpy(array).to(cells.device) for array in (on_map, places))
        pool_on_device(cells.view(-1, channels), windows, pooling_plan(levels).tolist(), out, into)
    return out


def _to_numpy(array: npt.NDArray[Any] | torch.Tensor) -> npt.NDArray[Any]:
    return array.detach().cpu().numpy() if is_tensor(array) else np.asarray(array)


def _check_windows(windows: npt.NDArray[Any], height: int, width: int) -> Cells:
    if windows.ndim != 2 or windows.shape[1] != 4 or windows.dtype != np.int64:
        raise ValueError(f"windows are int64 [R, 4], not {windows.dtype} {list(windows.shape)}")
    x0, y0, x1, y1 = windows.T
    wrong = (x0 < 0) | (y0 < 0) | (x1 < x0) | (y1 < y0) | (x1 >= width) | (y1 >= height)
    if wrong.any():
        raise ValueError(f"window {windows[wrong][0].tolist()} is empty or leaves the map of {width} x {height} cells")
    return np.ascontiguousarray(windows)


def _check_out(out: Any, prepared: PreparedMap, shape: tuple[int, int], more_rows: bool) -> npt.NDArray[Any]:
    """`out` as the kernel writes it: bfloat16 as int16."""
    num, length = shape
    fits = out.ndim == 2 and out.shape[1] == length and (len(out) == num or more_rows)
    whole = out.is_contiguous() if is_tensor(out) else out.flags.c_contiguous and out.flags.writeable
    if not (fits and whole and out.dtype == prepared.dtype):
        raise ValueError(
            f"out is a contiguous {prepared.dtype} [{'*' if more_rows else num}, {length}], "
            f"not {out.dtype} {list(out.shape)}"
        )
    return bits_of(out) if is_tensor(out) else np.asarray(out)


def _check_rows(rows: npt.NDArray[Any], num: int, limit: int) -> Cells:
    if rows.shape != (num,) or rows.dtype != np.int64:
        raise ValueError(f"rows are int64 [{num}], not {rows.dtype} {list(rows.shape)}")
    taken = np.zeros(limit, bool)
    if num and rows.min() >= 0 and rows.max() < limit:
        taken[rows] = True
    if taken.sum() < num:
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
