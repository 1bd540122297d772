"""What grouping compares: the colour and texture histograms of regions (IJCV 2013, section 3.2).

Colour: 25 bins a channel. Texture: Gaussian derivatives (sigma 1) in 8 orientations, 10 bins each a channel. Either
part is L1-normalised; its sum is ONE rather than 1, so that intersections can be added as integers, which come out
alike on every machine.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from numba import njit

from spp_det.proposals.colour import Planes

COLOUR_BINS = 25
ORIENTATIONS = 8
TEXTURE_BINS = 10
ONE = 1 << 24  # what a similarity of 1 is in integers
DERIVATIVE_SIGMA = 1.0
STEP = 4.0  # grey levels a pixel from one bin of a derivative to the next; the last bin is open


def histogram_bins(planes: Planes) -> npt.NDArray[np.uint8]:
    """What a pixel adds to its region's histograms: uint8 [H, 5 * C, W]; for each channel its colour and 4 axes.

    The colour is bin 0 .. 24. The axes are derivatives along 0, 45, 90, 135 degrees: a positive one is bin 0 .. 9; a
    negative one is 40 + its bin, which is that of the opposite orientation (4 orientations on), where a positive one
    counts as bin 0. So 4 axes give the 8 orientations.
    """
    channels, height, width = planes.shape
    radius = 4
    gauss = cv2.getGaussianKernel(2 * radius + 1, DERIVATIVE_SIGMA)
    slope = gauss * np.arange(-radius, radius + 1)[:, None] / DERIVATIVE_SIGMA**2
    bins = np.empty((height, channels, 5, width), np.uint8)
    for c, plane in enumerate(planes):
        dx = cv2.sepFilter2D(plane, cv2.CV_32F, slope, gauss, borderType=cv2.BORDER_REPLICATE)
        dy = cv2.sepFilter2D(plane, cv2.CV_32F, gauss, slope, borderType=cv2.BORDER_REPLICATE)
        _quantise(plane, dx, dy, bins, c)
    return bins.reshape(height, channels * 5, width)


def region_histograms(
    bins: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32], sizes: npt.NDArray[np.int32]
) -> npt.NDArray[np.float32]:
    """The histograms of all regions: float32 [n, C * 25 + C * 80], first colour, then texture; either sums to ONE.

    bins: `histogram_bins` of the planes; labels: int32 [H, W]; sizes: int32 [n], pixels a region.
    The order is channel, bin; then channel, orientation, bin.
    """
    channels = bins.shape[1] // 5
    counts = _count(bins, labels, len(sizes))
    _fill_first_bins(counts, sizes, channels)
    return _normalise(counts, sizes, channels)


@njit(cache=True, nogil=True)
def _quantise(plane, dx, dy, bins, c):  # type: ignore[no-untyped-def]
    height, width = plane.shape
    diagonal = np.float32(np.sqrt(0.5))
    scale = np.float32(1 / STEP)
    for y in range(height):
        values, slopes_x, slopes_y = plane[y], dx[y], dy[y]
        row = bins[y, c, 0]
        for x in range(width):
            row[x] = np.int32(values[x]) * COLOUR_BINS >> 8
        for axis in range(4):
            along_x = (np.float32(1), diagonal, np.float32(0), -diagonal)[axis] * scale
            along_y = (np.float32(0), diagonal, np.float32(1), diagonal)[axis] * scale
            row = bins[y, c, 1 + axis]
            for x in range(width):
                slope = along_x * slopes_x[x] + along_y * slopes_y[x]
                level = np.int32(min(abs(slope), np.float32(TEXTURE_BINS - 1)))
                row[x] = np.int32(level + np.int32(4 * TEXTURE_BINS if slope < 0 else 0))


@njit(cache=True, nogil=True)
def _count(bins, labels, n):  # type: ignore[no-untyped-def]
    """Counts; those of the first bins of the orientations are not whole before `_fill_first_bins`.

    The five bins of a channel together, so that a counter is seldom needed again before it is written.
    """
    height, rows, width = bins.shape
    channels = rows // 5
    counts = np.zeros((n, channels * (COLOUR_BINS + ORIENTATIONS * TEXTURE_BINS)), np.int32)
    step = np.uint32(TEXTURE_BINS)
    for y in range(height):
        for c in range(channels):
            colour, bins_0, bins_45 = bins[y, 5 * c], bins[y, 5 * c + 1], bins[y, 5 * c + 2]
            bins_90, bins_135 = bins[y, 5 * c + 3], bins[y, 5 * c + 4]
            first = np.uint32(c * COLOUR_BINS)
            texture = np.uint32(channels * COLOUR_BINS + c * ORIENTATIONS * TEXTURE_BINS)
            for x in range(width):
                histogram = counts[np.uint32(labels[y, x])]
                histogram[first + colour[x]] += 1
                histogram[texture + bins_0[x]] += 1
                histogram[texture + step + bins_45[x]] += 1
                histogram[texture + 2 * step + bins_90[x]] += 1
                histogram[texture + 3 * step + bins_135[x]] += 1
    return counts


@njit(cache=True, nogil=True)
def _fill_first_bins(counts, sizes, channels):  # type: ignore[no-untyped-def]
    for region in range(len(sizes)):
        for group in range(channels * ORIENTATIONS):
            first = channels * COLOUR_BINS + group * TEXTURE_BINS
            rest = 0
            for level in range(1, TEXTURE_BINS):
                rest += counts[region, first + level]
            counts[region, first] = sizes[region] - rest


@njit(cache=True, nogil=True)
def _normalise(counts, sizes, channels):  # type: ignore[no-untyped-def]
    n, length = counts.shape
    histograms = np.empty((n, length), np.float32)
    for region in range(n):
        colour = ONE / (sizes[region] * channels)
        texture = colour / ORIENTATIONS
        for i in range(channels * COLOUR_BINS):
            histograms[region, i] = counts[region, i] * colour
        for i in range(channels * COLOUR_BINS, length):
            histograms[region, i] = counts[region, i] * texture
    return histograms
