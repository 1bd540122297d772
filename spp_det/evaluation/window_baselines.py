"""Windows that do not look at the image: what a method that does must beat.

Both follow Hosang, Benenson, Dollar, Schiele: "What makes for effective detection proposals?" (PAMI 2016, section 2.4),
but with ranges that need no training set, and, where they draw the root of a window's area evenly, its logarithm: so it
finds more of VOC's objects.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spp_det.structures import Boxes, Size, empty_boxes

MIN_SIDE = 20  # pixels
MAX_ASPECT = 3.0  # of random windows, the longer side over the other
SCALE_STEP = 1.3  # of a sliding window's side from one size to the next
ASPECTS = (0.5, 1.0, 2.0)  # of sliding windows, width over height


def random_windows(size: Size, count: int, generator: np.random.Generator) -> Boxes:
    """`count` random windows of an image of `size`, float32 [N, 4].

    The centre and the logarithms of the area and of the aspect ratio are each drawn evenly, and what leaves the image
    is cut off. A window under `MIN_SIDE` in width or height is drawn again; an image
    that is itself under it has one window, the whole of it.
    """
    height, width = size
    if min(size) <= MIN_SIDE:
        return np.array([[0, 0, width, height]], np.float32)
    found = [empty_boxes()]
    while sum(map(len, found)) < count:
        centre = generator.uniform((0, 0), (width, height), (count, 2))
        side = np.exp(generator.uniform(math.log(MIN_SIDE), math.log(width * height) / 2, (count, 1)))
        aspect = np.exp(generator.uniform(-math.log(MAX_ASPECT), math.log(MAX_ASPECT), (count, 1)))
        half = side * np.concatenate([np.sqrt(aspect), 1 / np.sqrt(aspect)], axis=1) / 2
        low, high = np.maximum(centre - half, 0), np.minimum(centre + half, (width, height))
        large = (high - low >= MIN_SIDE).all(axis=1)
        found.append(np.concatenate([low, high], axis=1)[large].astype(np.float32))
    return np.concatenate(found)[:count]


def sliding_windows(size: Size, count: int) -> Boxes:
    """About `count` windows on regular grids over an image of `size`, float32 [N, 4].

    The windows are shared out evenly among all pairs of a side and an aspect ratio that fit into the image, and those
    of each pair spread evenly over it.
    """
    shapes = _shapes(size)
    bounds = np.arange(len(shapes) + 1) * count // len(shapes)
    grids = [_grid(size, shape, int(n)) for shape, n in zip(shapes, np.diff(bounds), strict=True) if n]
    return np.concatenate([empty_boxes(), *grids])


def _shapes(size: Size) -> list[tuple[float, float]]:
    """(width, height) of the windows: sides from the image's root area down, in steps; and the whole image."""
    height, width = size
    steps = int(math.log(math.sqrt(width * height) / MIN_SIDE, SCALE_STEP)) + 1
    sides = math.sqrt(width * height) / SCALE_STEP ** np.arange(steps)
    shapes = [(side * math.sqrt(aspect), side / math.sqrt(aspect)) for side in sides for aspect in ASPECTS]
    fit = [(w, h) for w, h in shapes if MIN_SIDE <= w <= width and MIN_SIDE <= h <= height]
    return list(dict.fromkeys([(float(width), float(height)), *fit]))


def _grid(size: Size, shape: tuple[float, float], count: int) -> Boxes:
    """About `count` places of one window: more along the side with more room, in the middle where there is one."""
    room_x, room_y = size[1] - shape[0], size[0] - shape[1]
    columns = math.sqrt(count * (room_x + 1) / (room_y + 1))
    columns = min(max(round(columns), 1), count)
    rows = max(count // columns, 1)
    x, y = np.meshgrid(_places(room_x, columns), _places(room_y, rows))
    low = np.stack([x.ravel(), y.ravel()], axis=1)
    return np.unique(np.concatenate([low, low + shape], axis=1), axis=0).astype(np.float32)


def _places(room: float, count: int) -> npt.NDArray[np.float64]:
    return np.linspace(0, room, count) if count > 1 else np.array([room / 2])
