"""Products of many vectors with a few others, as of an image's windows with the classes' SVMs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from spp_det.threads import is_forked, numba_threads

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 4  # rows of each matrix in a tile: its 16 sums and what they are made of fill the registers


def multiply(a: npt.NDArray[np.float32] | Tensor, b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The product of two float32 matrices, [N, D] and [D, K], K small. No number of threads, and no other row or column
    changes a bit of a number.

    A tensor of bfloat16, or of a GPU, is multiplied in its own type, where it lies: oneDNN, which takes it in one
    piece, cuts no sum either. Torch's float32 products do, by the number of threads; handing out rows to threads that
    call them takes three times as long as this.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(a, torch.Tensor):
        if a.device.type != "cpu" or a.dtype != torch.float32:
            with torch.inference_mode():
                return (a @ torch.from_numpy(b).to(a.device, a.dtype)).float().cpu().numpy()
        a = a.numpy()
    rows, columns = np.ascontiguousarray(a, np.float32), np.ascontiguousarray(b.T, np.float32)
    out = np.empty((len(rows), len(columns)), np.float32)
    if is_forked():  # OpenMP ends a process that was forked from one that uses it
        _products_alone(rows, columns, out)
    else:
        numba_threads()
        _products(rows, columns, out)
    return out


@njit(cache=True, nogil=True, parallel=True)
def _products(a, b, out):  # type: ignore[no-untyped-def]
    """out[i, j] = the sum of a[i] * b[j]."""
    for tile in prange(-(-len(a) // SIDE)):
        for j in range(0, len(b), SIDE):
            _tile(a, b, out, tile * SIDE, j)


@njit(cache=True, nogil=True)
def _products_alone(a, b, out):  # type: ignore[no-untyped-def]
    """The same by one thread."""
    for i in range(0, len(a), SIDE):
        for j in range(0, len(b), SIDE):
            _tile(a, b, out, i, j)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _tile(a, b, out, i0, j0):  # type: ignore[no-untyped-def]
    """The sums of up to SIDE x SIDE rows from i0 and j0 on.

    At the ends the last row is taken several times, so that each sum is made alike, whatever stands beside it.
    """
    rows, columns = len(a) - 1, len(b) - 1
    i1, i2, i3 = min(i0 + 1, rows), min(i0 + 2, rows), min(i0 + 3, rows)
    j1, j2, j3 = min(j0 + 1, columns), min(j0 + 2, columns), min(j0 + 3, columns)
    a0, a1, a2, a3 = a[i0], a[i1], a[i2], a[i3]
    b0, b1, b2, b3 = b[j0], b[j1], b[j2], b[j3]
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = np.float32(0)
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0)
    for d in range(a.shape[1]):
        s00 += a0[d] * b0[d]
        s01 += a0[d] * b1[d]
        s02 += a0[d] * b2[d]
        s03 += a0[d] * b3[d]
        s10 += a1[d] * b0[d]
        s11 += a1[d] * b1[d]
        s12 += a1[d] * b2[d]
        s13 += a1[d] * b3[d]
        s20 += a2[d] * b0[d]
        s21 += a2[d] * b1[d]
        s22 += a2[d] * b2[d]
        s23 += a2[d] * b3[d]
        s30 += a3[d] * b0[d]
        s31 += a3[d] * b1[d]
        s32 += a3[d] * b2[d]
        s33 += a3[d] * b3[d]
    out[i0, j0], out[i0, j1], out[i0, j2], out[i0, j3] = s00, s01, s02, s03
    out[i1, j0], out[i1, j1], out[i1, j2], out[i1, j3] = s10, s11, s12, s13
    out[i2, j0], out[i2, j1], out[i2, j2], out[i2, j3] = s20, s21, s22, s23
    out[i3, j0], out[i3, j1], out[i3, j2], out[i3, j3] = s30, s31, s32, s33
