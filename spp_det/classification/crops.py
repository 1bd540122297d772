"""Where crops and views lie in an image, and how a training image is altered (P4 section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
import numpy.typing as npt

from spp_det.classification.folders import read_scaled
from spp_det.errors import DataError
from spp_det.images import flip_image, resize
from spp_det.structures import Image, Size

CORNERS = 5  # places of `origins`: the centre and the corners
EDGES = 9  # and the middles of the edges
COLOUR_IMAGES = 200  # from which the colours' principal components are taken
COLOUR_SIDE = 64  # px that these are read at


def origins(size: Size, side: int, places: int = CORNERS) -> npt.NDArray[np.int64]:
    """First pixels (y, x) of squares in an image: int64 [places, 2].

    The centre, the four corners of the whole image, the middles of its four edges, in this order; places: 1, 5 or 9.
    Raises ValueError where the image is smaller than the square.
    """
    bottom, right = size[0] - side, size[1] - side
    if min(bottom, right) < 0:
        raise ValueError(f"an image of {size[1]} x {size[0]} pixels has no square of {side}")
    middle = (bottom // 2, right // 2)
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    edges = [(0, middle[1]), (middle[0], 0), (middle[0], right), (bottom, middle[1])]
    return np.array([middle, *corners, *edges][:places], np.int64)


def cut(image: Image, origin: npt.NDArray[np.int64], side: int) -> Image:
    """The square of an image that begins at `origin` (y, x), a view."""
    y, x = origin.tolist()
    return image[y : y + side, x : x + side]


def random_crop(image: Image, crop: int, size: int, flip: bool, rng: np.random.Generator) -> Image:
    """One of the crops at the centre and the corners, mirrored half of the time, resized: uint8 [size, size, 3].

    image: already at its short side; crop: px in it. The smaller size of multi-size training shows the same content.
    """
    place = int(rng.integers(CORNERS))
    mirrored = bool(rng.integers(2)) and flip
    chosen = resize(cut(image, origins(image.shape[:2], crop)[place], crop), (size, size))
    return flip_image(chosen) if mirrored else np.ascontiguousarray(chosen)


def colour_components(paths: Sequence[str | PathLike[str]]) -> npt.NDArray[np.float32]:
    """The principal components of the colours of some images: float32 [3, 3], a column each, as long as its deviation.

    Krizhevsky et al. (2012, section 4.1) add to an image a random part of each component. They scale it by the
    eigenvalue, whose unit is a square; here as elsewhere by its root, in units of pixels (0 .. 255).
    At most COLOUR_IMAGES of the files, evenly spread, are read; those that cannot be are left out.
    """
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(COLOUR_IMAGES, len(paths))).astype(int)]
    count, total, squares = 0, np.zeros(3), np.zeros((3, 3))
    for path in chosen:
        try:
            image = read_scaled(path, COLOUR_SIDE)
        except DataError:
            continue  # training names it when its turn comes
        pixels = image.reshape(-1, 3).astype(np.float64)
        count, total, squares = count + len(pixels), total + pixels.sum(0), squares + pixels.T @ pixels
    if not count:
        return np.zeros((3, 3), np.float32)
    mean = total / count
    values, vectors = np.linalg.eigh(squares / count - np.outer(mean, mean))
    return (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)


def colour_shift(
    components: npt.NDArray[np.float32], deviation: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """What is added to the red, green and blue of every pixel of one image: float32 [3]."""
    return components @ (deviation * rng.standard_normal(3)).astype(np.float32)
