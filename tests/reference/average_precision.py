"""The devkit's VOCevaldet in plain Python: one class, one detection after another."""

from __future__ import annotations

from fractions import Fraction

from reference.suppression import slow_iou


def slow_evaluate(objects, found, min_overlap=0.5, strict=False):
    """objects: {image: [(box, difficult)]}; found: [(image, score, box)]. Returns recalls and precisions."""
    asked = sum(not difficult for image in objects.values() for _, difficult in image)
    taken = set()
    right = wrong = 0
    recalls, precisions = [], []
    for image, _, box in sorted(found, key=lambda entry: -entry[1]):
        best, best_overlap = None, -1.0
        for index, (other, _) in enumerate(objects[image]):
            overlap = slow_iou(box, other)
            if overlap > best_overlap:
                best, best_overlap = index, overlap
        enough = best_overlap > min_overlap if strict else best_overlap >= min_overlap
        if best is not None and enough:
            if objects[image][best][1]:
                continue
            if (image, best) in taken:
                wrong += 1
            else:
                taken.add((image, best))
                right += 1
        else:
            wrong += 1
        recalls.append(Fraction(right, asked) if asked else None)
        precisions.append(Fraction(right, right + wrong))
    return recalls, precisions


def slow_eleven_points(recalls, precisions) -> float:
    total = Fraction(0)
    for tenth in range(11):
        reached = [p for r, p in zip(recalls, precisions, strict=True) if r >= Fraction(tenth, 10)]
        total += max(reached, default=Fraction(0))
    return float(total / 11)


def slow_area(recalls, precisions) -> float:
    total, before = Fraction(0), Fraction(0)
    for index, recall in enumerate(recalls):
        total += (recall - before) * max(precisions[index:])
        before = recall
    return float(total)
