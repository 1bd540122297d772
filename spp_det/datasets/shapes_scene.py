"""One generated picture: where its objects lie, what hides what, and the Target that follows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from spp_det.datasets.shapes_drawing import (
    DISTRACTORS,
    SHAPES,
    Canvas,
    Part,
    background,
    cover,
    far_colour,
    paint,
    place,
    texture,
    window_of,
)
from spp_det.structures import Image, Size, Target

SHAPES_CLASSES = tuple(SHAPES)

LONG_SIDES = (28.0, 140.0)  # px of an object's longer side, log-uniform
OVERLAPPING = 0.15  # share of the objects that may lie over another, or be hidden by one
TRUNCATED = 0.1  # share of those that may reach over the picture's edge
SHOWN_LEAST = 0.2  # an object of which a smaller share is seen has no annotation
SHOWN_CLEARLY = 0.6  # one of which a smaller share is seen is difficult
CLEAR_SIDE = 20  # px; one whose shorter side looks smaller is difficult


@dataclass
class _Thing:
    """Something placed in the picture; `label` is None for what is no object."""

    label: int | None
    parts: tuple[Part, ...]
    centre: tuple[float, float]
    sides: tuple[float, float]
    angle: float
    shown: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))  # pixels that are seen

    def extent(self) -> npt.NDArray[np.float64]:
        """(x1, y1, x2, y2) around all of it, hidden or not."""
        corners = np.concatenate([self.placed(contour) for part in self.parts for contour in part.contours])
        return np.concatenate([corners.min(0), corners.max(0)])

    def placed(self, contour: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return place(contour, self.centre, self.sides, self.angle)

    def area(self) -> float:
        """Square pixels, hidden or not."""
        return sum(part.area for part in self.parts) * self.sides[0] * self.sides[1] / 4

    def seen_box(self) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) around what is seen of it."""
        rows, columns = (np.flatnonzero(self.shown.any(axis)) for axis in (1, 0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def draw_scene(rng: np.random.Generator) -> tuple[Image, Target]:
    """A picture of 1 to 5 objects of SHAPES_CLASSES among 1 to 3 other things, and its Target.

    The picture is uint8 [240 .. 300, 320 .. 400, 3]; boxes are whole pixels around what is seen of an object; the same
    state of `rng` gives the same picture.
    """
    size = (int(rng.integers(240, 301)), int(rng.integers(320, 401)))
    things = _arrange(rng, size)
    canvas = background(rng, size)
    for i, thing in enumerate(things):
        thing.shown = _draw(rng, canvas, thing)
        for below in things[:i]:
            below.shown &= ~thing.shown
    return _photograph(rng, canvas), _target(things)


def _arrange(rng: np.random.Generator, size: Size) -> list[_Thing]:
    things: list[_Thing] = []
    labels: list[int | None] = [int(label) for label in rng.integers(0, len(SHAPES_CLASSES), rng.integers(1, 6))]
    labels += [None] * int(rng.integers(1, 4))
    for label in labels:
        shared = 0.5 if label is not None and rng.random() < OVERLAPPING else 0.0
        for _ in range(40):
            thing = _random_thing(rng, size, label)
            if all(_shared(thing, other) <= shared for other in things):
                things.append(thing)
                break
    return things


def _random_thing(rng: np.random.Generator, size: Size, label: int | None) -> _Thing:
    shapes = DISTRACTORS if label is None else SHAPES
    name = list(shapes)[rng.integers(len(shapes)) if label is None else label]
    aspect = math.exp(rng.uniform(*np.log(_aspects(name))))  # width / height
    longer = min(math.exp(rng.uniform(*np.log(LONG_SIDES))), 0.8 * min(size))
    sides = (longer * min(1.0, aspect), longer * min(1.0, 1 / aspect))
    angle = float(np.clip(rng.normal(0, 0.12), -0.3, 0.3))  # radians
    thing = _Thing(label, shapes[name], (0.0, 0.0), sides, angle)
    half_x, half_y = thing.extent()[2:]
    inset = rng.uniform(0.0, 0.9) if rng.random() < TRUNCATED else 1.0  # below 1 it may reach over the edge
    x = rng.uniform(inset * half_x, size[1] - inset * half_x)
    y = rng.uniform(inset * half_y, size[0] - inset * half_y)
    thing.centre = (float(x), float(y))
    return thing


def _aspects(name: str) -> tuple[float, float]:
    """The least and the greatest width / height of a shape: what can be stretched is, up to 1:3."""
    return {"star": (0.6, 1.7), "pin": (1 / 3, 0.9), "club": (1 / 3, 0.9)}.get(name, (1 / 3, 3.0))


def _shared(a: _Thing, b: _Thing) -> float:
    """What share of the smaller one's extent lies in the other's."""
    first, second = a.extent(), b.extent()
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    smaller = min(float(np.prod(e[2:] - e[:2])) for e in (first, second))
    return float(np.prod(np.maximum(sides, 0))) / smaller


def _draw(rng: np.random.Generator, canvas: Canvas, thing: _Thing) -> npt.NDArray[np.bool_]:
    """Paint the thing, in place; which pixels it covers."""
    size = canvas.shape[:2]
    covers = [cover([thing.placed(contour) for contour in part.contours], size) for part in thing.parts]
    union = np.max(covers, axis=0)
    if not union.any():
        return union > 0
    window = window_of(union)
    view, ground = canvas[window], canvas[union > 0].mean(0)
    first = far_colour(rng, [ground], 80)
    second = far_colour(rng, [ground, first], 80)
    textures = [texture(rng, view.shape[:2], colour) for colour in (first, second)]
    for part, mask in zip(thing.parts, covers, strict=True):
        paint(view, mask[window], textures[part.texture])
    return union > 127


def _photograph(rng: np.random.Generator, canvas: Canvas) -> Image:
    """What a camera would make of it: a slight blur, noise, 8 bits."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 0.9)))
    noisy = blurred + rng.uniform(1, 4) * rng.standard_normal(canvas.shape, np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _target(things: list[_Thing]) -> Target:
    seen = [t for t in things if t.label is not None and t.shown.sum() >= SHOWN_LEAST * t.area()]
    boxes = np.array([t.seen_box() for t in seen], np.float32).reshape(-1, 4)
    short_sides = (boxes[:, 2:] - boxes[:, :2]).min(1) if seen else np.zeros(0)
    shares = np.array([t.shown.sum() / t.area() for t in seen])
    difficult = (shares < SHOWN_CLEARLY) | (short_sides < CLEAR_SIDE)
    return Target(boxes, np.array([t.label for t in seen], np.int64), difficult)
