"""Caffe's layers by their definitions, in float64 numpy, one image [C, H, W] at a time."""

from __future__ import annotations

from math import ceil

import numpy as np


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, pad: int, groups: int = 1) -> np.ndarray:
    """A convolution, without its ReLU. weight: [out, in / groups, k, k]."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    height, width = ((side - k) // stride + 1 for side in x.shape[1:])
    parts = []
    for part, filters in zip(np.split(x, groups), np.split(weight, groups), strict=True):
        total = np.zeros((len(filters), height, width))
        for i in range(k):
            for j in range(k):
                under = part[:, i : i + stride * height : stride, j : j + stride * width : stride][:, :height, :width]
                total += np.einsum("oc,chw->ohw", filters[:, :, i, j], under)
        parts.append(total)
    return np.concatenate(parts) + bias[:, None, None]


def pooled_length(n: int, k: int, stride: int, pad: int, whole_windows: bool = False) -> int:
    """ceil((n + 2 pad - k) / stride) + 1, less one if the last window would begin in the padding at the end.

    whole_windows: the floor stands for the ceiling (not Caffe's).
    """
    if whole_windows:
        return (n + 2 * pad - k) // stride + 1
    count = ceil((n + 2 * pad - k) / stride) + 1
    return count - 1 if pad and (count - 1) * stride >= n + pad else count


def max_pool(x: np.ndarray, k: int, stride: int, pad: int, whole_windows: bool = False) -> np.ndarray:
    """The maximum of each window, of the cells of it that are on the map."""
    height, width = (pooled_length(side, k, stride, pad, whole_windows) for side in x.shape[1:])
    out = np.empty((len(x), height, width))
    for r in range(height):
        for c in range(width):
            top, left = r * stride - pad, c * stride - pad
            out[:, r, c] = x[:, max(top, 0) : top + k, max(left, 0) : left + k].max(axis=(1, 2))
    return out


def lrn_within_channel(x: np.ndarray, n: int, alpha: float, beta: float) -> np.ndarray:
    """x * (1 + alpha / n^2 * the sum of squares in the n x n cells around) ^ -beta; the divisor is n^2 everywhere."""
    out = np.empty(x.shape)
    for c, row, column in np.ndindex(x.shape):
        top, left = max(row - n // 2, 0), max(column - n // 2, 0)
        around = x[c, top : row + n // 2 + 1, left : column + n // 2 + 1].astype(float)
        out[c, row, column] = x[c, row, column] * (1 + alpha / n**2 * (around**2).sum()) ** -beta
    return out


def lrn_across_channels(x: np.ndarray, n: int, alpha: float, beta: float) -> np.ndarray:
    """x * (1 + alpha / n * the sum of squares in the n channels around) ^ -beta."""
    out = np.empty(x.shape)
    for c in range(len(x)):
        around = x[max(c - n // 2, 0) : c + n // 2 + 1].astype(float)
        out[c] = x[c] * (1 + alpha / n * (around**2).sum(axis=0)) ** -beta
    return out
