"""COCO's AP and AR for one class, IoU, area range and number of detections, as its page defines them, step by step."""

from __future__ import annotations

import math

RANGES = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


def overlap(box, truth, crowd) -> float:
    width = min(box[2], truth[2]) - max(box[0], truth[0])
    height = min(box[3], truth[3]) - max(box[1], truth[1])
    shared = max(0.0, width) * max(0.0, height)
    own = (box[2] - box[0]) * (box[3] - box[1])
    if crowd:
        return shared / own
    return shared / (own + (truth[2] - truth[0]) * (truth[3] - truth[1]) - shared)


def match_image(truths, found, threshold, area_range, limit):
    """([(score, is right)] of what counts, number of objects asked for).

    truths: (box, area, crowd); found: (box, score). An object that is a crowd or out of the range is ignored.
    """
    low, high = RANGES[area_range]
    ignored = [crowd or not low <= area <= high for _, area, crowd in truths]
    order = sorted(range(len(truths)), key=lambda index: ignored[index])  # those that count come first
    taken, verdicts = set(), []
    for box, score in sorted(found, key=lambda each: -each[1])[:limit]:
        best, chosen = min(threshold, 1 - 1e-10), None
        for index in order:
            truth, _, crowd = truths[index]
            if index in taken and not crowd:
                continue
            if chosen is not None and not ignored[chosen] and ignored[index]:
                break
            value = overlap(box, truth, crowd)
            if value < best:
                continue
            best, chosen = value, index
        if chosen is not None:
            taken.add(chosen)
            if not ignored[chosen]:
                verdicts.append((score, True))
        elif low <= (box[2] - box[0]) * (box[3] - box[1]) <= high:
            verdicts.append((score, False))
    return verdicts, ignored.count(False)


def precision_and_recall(images, threshold, area_range="all", limit=100):
    """(AP over 101 recalls, greatest recall) of one class, or None without objects; images: [(truths, found)]."""
    verdicts, asked = [], 0
    for truths, found in images:
        some, count = match_image(truths, found, threshold, area_range, limit)
        verdicts += some
        asked += count
    if not asked:
        return None
    verdicts.sort(key=lambda each: -each[0])
    points, right = [], 0
    for number, (_, good) in enumerate(verdicts, 1):
        right += good
        points.append((right / asked, right / number))
    levels = [step / 100 for step in range(101)]
    best = [max((p for r, p in points if r >= level - 1e-9), default=0.0) for level in levels]
    return sum(best) / 101, max((r for r, _ in points), default=0.0)


def figure(classes, thresholds, area_range="all", limit=100, recall=False) -> float:
    """The mean over classes and thresholds; nan where no class has an object. classes: [images of one class]."""
    values = [precision_and_recall(images, t, area_range, limit) for images in classes for t in thresholds]
    known = [value[recall] for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan
