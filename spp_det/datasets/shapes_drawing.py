"""What the generated pictures are painted with: outlines of shapes, textures and backgrounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from spp_det.structures import Size

Contour = npt.NDArray[np.float64]  # [P, 2], corners (x, y) of a polygon; a shape's own lie in -1 .. 1, y downwards
Canvas = npt.NDArray[np.float32]  # [H, W, 3], RGB, 0 .. 255
Cover = npt.NDArray[np.uint8]  # [H, W], how much of a pixel is covered, 255 for all of it


@dataclass(frozen=True)
class Part:
    """One area of a shape: its outline, then its holes; painted with the first or the second of two textures."""

    contours: tuple[Contour, ...]
    texture: int = 0

    @property
    def area(self) -> float:
        """Area in the shape's own coordinates, where the square around it has 4."""
        first, *holes = (abs(_signed_area(contour)) for contour in self.contours)
        return first - sum(holes)


def _signed_area(contour: Contour) -> float:
    x, y = contour.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _circle(radius: float = 1.0, x: float = 0.0, y: float = 0.0) -> Contour:
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def _box(x1: float, y1: float, x2: float, y2: float) -> Contour:
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def _star(points: int, inner: float) -> Contour:
    angles = np.arange(2 * points) * np.pi / points - np.pi / 2
    star = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.where(np.arange(2 * points) % 2, inner, 1.0)[:, None]
    low, high = star.min(0), star.max(0)
    return (star - low) / (high - low) * 2 - 1  # its extent fills the square


# The classes. `pin` and `club`, `pair` and `stack` hold the same parts in other places: only where a part lies
# tells them apart, and a mirror image leaves each what it was.
SHAPES: dict[str, tuple[Part, ...]] = {
    "disc": (Part((_circle(),)),),
    "ring": (Part((_circle(), _circle(0.55))),),
    "star": (Part((_star(5, 0.42),)),),
    "pin": (Part((_box(-0.25, 0, 0.25, 1),), texture=1), Part((_circle(0.62, y=-0.38) * (1.6, 1),))),
    "club": (Part((_box(-0.25, -1, 0.25, 0),), texture=1), Part((_circle(0.62, y=0.38) * (1.6, 1),))),
    "pair": (Part((_box(-1, -1, -0.15, 1),)), Part((_box(0.15, -1, 1, 1),), texture=1)),
    "stack": (Part((_box(-1, -1, 1, -0.15),)), Part((_box(-1, 0.15, 1, 1),), texture=1)),
}

# Things that are none of the classes, to be told from them.
DISTRACTORS: dict[str, tuple[Part, ...]] = {
    "plain box": (Part((_box(-1, -1, 1, 1),)),),
    "triangle": (Part((np.array([(0.0, -1), (1, 1), (-1, 1)]),)),),
    "angle": (Part((np.array([(-1.0, -1), (-0.4, -1), (-0.4, 0.4), (1, 0.4), (1, 1), (-1, 1)]),)),),
    "half disc": (Part((_circle(y=0)[:37] * (1, 2) - (0, 1),)),),
    "frame": (Part((_box(-1, -1, 1, 1), _box(-0.6, -0.6, 0.6, 0.6))),),
}


def place(contour: Contour, centre: tuple[float, float], sides: tuple[float, float], angle: float) -> Contour:
    """A shape's own contour in pixels: stretched to sides (w, h), turned by an angle in radians, moved to (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([(cos, sin), (-sin, cos)])
    return contour * (np.array(sides) / 2) @ turn + np.array(centre)


def cover(contours: list[Contour], size: Size) -> Cover:
    """How much of each pixel lies inside an outline and outside of its holes, antialiased."""
    mask = np.zeros(size, np.uint8)
    fixed = [np.rint((contour - 0.5) * 16).astype(np.int32) for contour in contours]  # pixel 0 has its centre at 0.5
    cv2.fillPoly(mask, fixed, 255, cv2.LINE_AA, shift=4)
    return mask


def window_of(mask: Cover) -> tuple[slice, slice]:
    """The rows and columns around what is not 0: to work there alone, which is many times faster."""
    x, y, width, height = cv2.boundingRect(mask)
    return slice(y, y + height), slice(x, x + width)


def paint(canvas: Canvas, mask: Cover, colours: np.ndarray, strength: float = 1.0) -> None:
    """Lay one colour [3] or a texture [H, W, 3] on the canvas, in place, as far as the mask covers it."""
    canvas += (mask * np.float32(strength / 255))[..., None] * (colours.astype(np.float32) - canvas)


def far_colour(rng: np.random.Generator, others: list[npt.NDArray[np.floating]], distance: float) -> np.ndarray:
    """A random RGB colour at a distance of at least `distance` from the others, or the farthest of 30 tries."""
    tries = rng.uniform(15, 240, (30, 3))
    nearest = np.min([np.linalg.norm(tries - other, axis=1) for other in others], axis=0)
    return tries[np.argmax(np.minimum(nearest, distance))]


def texture(rng: np.random.Generator, size: Size, colour: np.ndarray) -> Canvas:
    """A canvas of one colour with a random pattern of the same hue, and light falling off to one side."""
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    y, x = _turned_grid(rng, size)
    shade = rng.uniform(10, 32) * pattern(rng, y, x) + rng.uniform(0, 25) * x / max(size)
    return (colour + shade[..., None]).astype(np.float32)


def _turned_grid(rng: np.random.Generator, size: Size) -> tuple[np.ndarray, np.ndarray]:
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return y * math.cos(angle) - x * math.sin(angle), x * math.cos(angle) + y * math.sin(angle)


def _solid(_: np.random.Generator, y: np.ndarray, __: np.ndarray) -> np.ndarray:
    return np.zeros_like(y)


def _stripes(rng: np.random.Generator, y: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.clip(3 * np.sin(y * (2 * np.pi / rng.uniform(6, 16))), -1, 1)


def _checks(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    step = np.pi / rng.uniform(4, 10)
    return np.clip(4 * np.sin(y * step) * np.sin(x * step), -1, 1)


def _dots(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    step = 2 * np.pi / rng.uniform(7, 14)
    return np.clip(3 * (np.cos(y * step) + np.cos(x * step)) - 2.5, -1, 1)


def _grain(rng: np.random.Generator, y: np.ndarray, _: np.ndarray) -> np.ndarray:
    return smooth_noise(rng, (y.shape[0], y.shape[1]), rng.uniform(2, 6))


PATTERNS: tuple[Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray], ...] = (
    _solid, _stripes, _checks, _dots, _grain,
)  # fmt: skip


def smooth_noise(rng: np.random.Generator, size: Size, cell: float) -> np.ndarray:
    """Random values in about -1 .. 1 that change over `cell` pixels: float32 [H, W]."""
    coarse = rng.uniform(-1, 1, [math.ceil(side / cell) + 1 for side in size]).astype(np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def background(rng: np.random.Generator, size: Size) -> Canvas:
    """Cluttered ground without an edge of an object: clouds of colour, blurred blobs, grain, thin lines."""
    canvas = np.empty((*size, 3), np.float32)
    canvas[:] = rng.uniform(50, 200, 3)
    for cell, strength in ((160.0, 45.0), (50.0, 18.0), (6.0, 5.0)):
        canvas += strength * np.stack([smooth_noise(rng, size, cell) for _ in range(3)], axis=2)
    for _ in range(rng.integers(4, 12)):
        _blob(rng, canvas)
    for _ in range(rng.integers(3, 10)):
        _line(rng, canvas)
    return canvas


def _blob(rng: np.random.Generator, canvas: Canvas) -> None:
    height, width = canvas.shape[:2]
    centre = (rng.uniform(0, width), rng.uniform(0, height))
    sides = (rng.uniform(15, 110), rng.uniform(15, 110))
    corners = place(_circle() * rng.uniform(0.6, 1.0, (72, 1)), centre, sides, rng.uniform(0, np.pi))
    coarse = cover([corners / 4], (height // 4, width // 4))  # soft edges need no fine grid
    blurred = cv2.GaussianBlur(coarse, (0, 0), float(rng.uniform(0.5, 2)))
    mask = np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    tone = canvas[int(centre[1]), int(centre[0])] + rng.uniform(-60, 60, 3)
    window = window_of(mask)
    paint(canvas[window], mask[window], tone, rng.uniform(0.4, 0.9))


def _line(rng: np.random.Generator, canvas: Canvas) -> None:
    height, width = canvas.shape[:2]
    knots = rng.uniform(-0.1, 1.1, (4, 2)) * (width, height)  # of a Bezier curve
    t = np.linspace(0, 1, 40)[:, None]
    curve = (1 - t) ** 3 * knots[0] + 3 * t * (1 - t) ** 2 * knots[1] + 3 * t**2 * (1 - t) * knots[2] + t**3 * knots[3]
    mask = np.zeros((height, width), np.uint8)
    points = np.rint(curve * 16).astype(np.int32)
    cv2.polylines(mask, [points], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, shift=4)
    window = window_of(mask)
    paint(canvas[window], mask[window], rng.uniform(20, 235, 3))
