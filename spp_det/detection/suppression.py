"""Non-maximum suppression: keep a box unless a better one of its class covers it.

Greedy, best score first, equal scores in the order given; a box goes when its IoU with a kept one is above the
threshold, strictly (S:nms/nms.m:52-58). Compiled here rather than taken from torchvision, since `detect` wants no more
than the best hundred of each class and can stop there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from spp_det.structures import Boxes, Labels, Scores

Indices = npt.NDArray[np.int64]  # [M]


def nms(boxes: Boxes, scores: Scores, threshold: float = 0.3, max_kept: int | None = None) -> Indices:
    """Indices of the boxes to keep, best score first: int64 [M].

    boxes: float32 [N, 4]; scores: [N]; threshold: IoU in [0, 1]; max_kept: stop after so many, None for no limit.
    Raises ValueError where boxes and scores do not fit each other or the threshold lies outside [0, 1].
    """
    scores = np.asarray(scores)
    _check(boxes, scores, threshold)
    if scores.ndim != 1:
        raise ValueError(f"scores have the shape [N], not {list(scores.shape)}")
    return _suppress(boxes, _descending(scores), threshold, max_kept)


def nms_per_class(
    boxes: Boxes,
    scores: npt.NDArray[np.floating],
    threshold: float = 0.3,
    min_score: float = -np.inf,
    max_kept: int | None = None,
) -> tuple[Indices, Labels]:
    """`nms` for each column of scores by itself, over the boxes that score above `min_score` in it.

    boxes: float32 [N, 4]; scores: [N, K]; max_kept: limit for each class.
    Returns the kept indices int64 [M] and the class of each int64 [M]: class by class, best score first within one.
    """
    scores = np.asarray(scores)
    _check(boxes, scores, threshold)
    if scores.ndim != 2:
        raise ValueError(f"scores have the shape [N, K], not {list(scores.shape)}")
    limit = len(boxes) if max_kept is None else min(max_kept, len(boxes))
    columns = np.ascontiguousarray(scores.T)
    orders, counts = np.argsort(-columns, axis=1, kind="stable"), (columns > min_score).sum(axis=1)
    kept, lengths = _per_column(boxes.astype(np.float64), orders, counts, float(threshold), limit)
    return by_class([row[:length] for row, length in zip(kept, lengths.tolist(), strict=True)])


def nms_labelled(boxes: Boxes, scores: Scores, labels: Labels, threshold: float = 0.3) -> Indices:
    """`nms` where each box has one class, labels int64 [N], and boxes of different classes leave each other alone.

    Returns the kept indices int64 [M]: class by class, best score first within one.
    """
    scores = np.asarray(scores)
    _check(boxes, scores, threshold)
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        kept.append(_suppress(boxes, members[_descending(scores[members])], threshold, None))
    return by_class(kept)[0]


def by_class(indices: list[Indices]) -> tuple[Indices, Labels]:
    """Lists of indices, one for each class, as one list, int64 [M], with the class of each entry, int64 [M]."""
    labels = np.repeat(np.arange(len(indices)), [len(some) for some in indices])
    return np.concatenate([*indices, np.zeros(0, np.int64)]), labels.astype(np.int64)


def _check(boxes: Boxes, scores: npt.NDArray[np.floating], threshold: float) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape[:1] != boxes.shape[:1]:
        raise ValueError(f"boxes {list(boxes.shape)} and scores {list(scores.shape)} do not fit each other")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    if not 0 <= threshold <= 1:
        raise ValueError(f"an IoU threshold lies in [0, 1], not at {threshold}")


def _descending(scores: npt.NDArray[np.floating]) -> Indices:
    return np.argsort(-scores, kind="stable")


def _suppress(boxes: Boxes, order: Indices, threshold: float, max_kept: int | None) -> Indices:
    limit = len(order) if max_kept is None else min(max_kept, len(order))
    return order[_greedy(boxes[order].astype(np.float64), threshold, limit)]


@njit(cache=True, nogil=True)
def _greedy(boxes: npt.NDArray[np.float64], threshold: float, limit: int) -> Indices:
    """Positions to keep among boxes sorted best first: each is compared with those kept so far."""
    kept = np.empty(limit, np.int64)
    count = 0
    for i in range(len(boxes)):
        if count == limit:
            break
        x1, y1, x2, y2 = boxes[i]
        free = True
        for position in kept[:count]:
            other = boxes[position]
            width = min(x2, other[2]) - max(x1, other[0])
            height = min(y2, other[3]) - max(y1, other[1])
            if width <= 0 or height <= 0:
                continue
            shared = width * height
            union = (x2 - x1) * (y2 - y1) + (other[2] - other[0]) * (other[3] - other[1]) - shared
            if shared / union > threshold:
                free = False
                break
        if free:
            kept[count] = i
            count += 1
    return kept[:count]


@njit(cache=True, nogil=True, parallel=True)
def _per_column(boxes, orders, counts, threshold, limit):  # type: ignore[no-untyped-def]
    """What `_greedy` keeps of the first counts[k] boxes in the order of row k of `orders` int64 [K, N], for each k.

    Returns int64 [K, limit], of which the first lengths[k] of each row count, and the lengths, int64 [K].
    """
    kept = np.empty((len(orders), limit), np.int64)
    lengths = np.empty(len(orders), np.int64)
    for k in prange(len(orders)):
        order = orders[k, : counts[k]]
        chosen = _greedy(boxes[order], threshold, min(limit, len(order)))
        lengths[k] = len(chosen)
        kept[k, : len(chosen)] = order[chosen]
    return kept, lengths
