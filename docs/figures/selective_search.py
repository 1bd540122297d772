"""Draws docs/images/selective_search.png: what selective search makes of a photograph, step by step.

python docs/figures/selective_search.py

The photograph comes with scikit-learn: by danielbuechele, CC BY 2.0, flickr.com/photos/danielbuechele/6061409035
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from sklearn.datasets import load_sample_image

from spp_det.boxes import iou
from spp_det.proposals import selective_search
from spp_det.proposals.colour import to_planes
from spp_det.proposals.search import build_hierarchies
from spp_det.proposals.segmentation import segment, smooth, sort_edges
from spp_det.proposals.strategies import MODES

OUT = Path(__file__).resolve().parent.parent / "images" / "selective_search.png"
RELEASED = MODES["released"]
STRATEGY = replace(RELEASED, colours=("lab",), levels=RELEASED.levels[-1:], similarities=RELEASED.similarities[:1])
REGIONS_LEFT = (60, 20, 7)  # of the three pictures of grouping
WINDOWS = 14
SHRINK = 0.5
GAP = 8  # pixels between the pictures
CAPTION = 24  # pixels above each


def main() -> None:
    """Writes the picture."""
    photograph = np.asarray(load_sample_image("china.jpg"))
    (colour,), (level,) = STRATEGY.colours, STRATEGY.levels
    labels = segment(sort_edges(smooth(to_planes(photograph, colour))), level.k, level.min_size).labels
    (hierarchy,) = build_hierarchies(photograph, STRATEGY, threads=1)
    assert labels.max() == len(hierarchy.merges), "the hierarchy is not of these regions"

    cells = [captioned(photograph, "the photograph")]
    cells.append(captioned(painted(photograph, labels), f"the first {labels.max() + 1} regions"))
    for left in REGIONS_LEFT:
        grouped = after_merges(labels, hierarchy.merges[: labels.max() + 1 - left])
        cells.append(captioned(painted(photograph, grouped), f"grouped to {left} regions"))
    windows = selective_search(photograph).boxes
    shown = spread_out(windows)
    cells.append(captioned(with_boxes(photograph, shown), f"{len(shown)} of {len(windows):,} windows, all hierarchies"))
    picture = np.concatenate([np.concatenate(cells[row : row + 3], axis=1) for row in (0, 3)])
    PillowImage.fromarray(picture).save(OUT, optimize=True)


def after_merges(labels: np.ndarray, merges: np.ndarray) -> np.ndarray:
    """The regions of each pixel once the first merges are done; merge number i of n regions makes region n + i."""
    n = int(labels.max()) + 1
    region = np.arange(n + len(merges))
    for number, (a, b) in enumerate(merges):
        region[(region == a) | (region == b)] = n + number
    return region[labels]


def painted(photograph: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each region in its mean colour, with white borders."""
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(photograph.shape[:2])
    sizes = np.bincount(labels.ravel())
    means = [np.bincount(labels.ravel(), weights=photograph[..., c].ravel()) / sizes for c in range(3)]
    picture = np.stack(means, axis=1)[labels].astype(np.uint8)
    border = np.zeros(labels.shape, bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    picture[border] = 255
    return picture


def spread_out(boxes: np.ndarray) -> np.ndarray:
    """The best windows of which no two have an IoU above 0.3."""
    kept: list[np.ndarray] = []
    for box in boxes:
        if len(kept) < WINDOWS and (not kept or iou(box[None], np.stack(kept)).max() <= 0.3):
            kept.append(box)
    return np.stack(kept)


def with_boxes(photograph: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The photograph with windows, the first ones on top."""
    picture = photograph.copy()
    hues = 180 * np.arange(len(boxes)) / len(boxes)
    colours = cv2.cvtColor(np.array([[(hue, 230, 255) for hue in hues]], np.uint8), cv2.COLOR_HSV2RGB)[0]
    for (x1, y1, x2, y2), colour in zip(boxes[::-1].astype(int), colours, strict=True):
        cv2.rectangle(picture, (x1 + 1, y1 + 1), (x2 - 2, y2 - 2), tuple(map(int, colour)), 3)
    return picture


def captioned(picture: np.ndarray, caption: str) -> np.ndarray:
    """The picture at its size in the figure, a caption above it and a gap around it."""
    small = cv2.resize(picture, None, fx=SHRINK, fy=SHRINK, interpolation=cv2.INTER_AREA)
    cell = cv2.copyMakeBorder(small, CAPTION, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return cv2.putText(cell, caption, (GAP, CAPTION - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA)


if __name__ == "__main__":
    main()
