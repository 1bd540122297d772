"""A set of images cut in two halves in which every class is equally frequent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]  # [N, K]


def halves(counts: Counts) -> npt.NDArray[np.bool_]:
    """Which images go into the first half: bool [N].

    counts: int64 [N, K], how often each class is in each image. The images with the rarest classes choose first, each
    the half that leaves the smaller sum over classes of (difference / total)^2; the number of images counts as one
    more class. R-CNN's tech report (section 4.2) asks the same balance of its val1 and val2, and finds it by random
    search; this is the same on every run.
    """
    columns = np.concatenate([counts, np.ones((len(counts), 1), np.int64)], axis=1).astype(np.float64)
    totals = np.maximum(columns.sum(axis=0), 1)
    shares = columns / totals
    in_first = np.zeros(len(counts), bool)
    lead = np.zeros(len(totals))  # of the first half over the second, as shares
    for image in np.argsort(-shares.max(axis=1), kind="stable"):
        in_first[image] = lead @ shares[image] <= 0  # |lead + s|^2 <= |lead - s|^2
        lead += shares[image] if in_first[image] else -shares[image]
    return in_first


def imbalance(counts: Counts, in_first: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """|a - b| / (a + b) of each class, float64 [K], where a and b are its counts in the halves; 0 for one without."""
    first, all_of = counts[in_first].sum(axis=0), counts.sum(axis=0)
    return np.abs(2 * first - all_of) / np.maximum(all_of, 1)
