"""Non-maximum suppression as one would do it on paper: plain Python, every pair looked at."""

from __future__ import annotations


def slow_iou(a, b) -> float:
    ax1, ay1, ax2, ay2 = (float(v) for v in a)
    bx1, by1, bx2, by2 = (float(v) for v in b)
    width = min(ax2, bx2) - max(ax1, bx1)
    height = min(ay2, by2) - max(ay1, by1)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)


def slow_nms(boxes, scores, threshold: float) -> list[int]:
    """Take the best box left, strike out all that overlap it by more than the threshold, go on until none is left."""
    left = list(range(len(boxes)))
    kept = []
    while left:
        best = left[0]
        for i in left:
            if scores[i] > scores[best]:
                best = i
        kept.append(best)
        left = [i for i in left if i != best and slow_iou(boxes[best], boxes[i]) <= threshold]
    return kept
