"""Draw detections into their image.

Pillow draws, since its letters are smooth at every size. Its own font is the same on every machine; it knows ASCII, and
other letters become boxes.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from spp_det.errors import DataError
from spp_det.files import write_whole
from spp_det.structures import Boxes, Detections, Image, Labels, Target, check_image

Colour = tuple[int, int, int]  # RGB, 0 .. 255


def draw(image: Image, detections: Detections, min_score: float = 0.0) -> Image:
    """A copy of the image with a box, the class name and the score of each detection of at least `min_score`.

    image: uint8 [H, W, 3]. One colour for each class, the best scores on top. Lines and letters grow with the image.
    """
    shown = detections.above(min_score)
    shown = shown[np.argsort(shown.scores, kind="stable")]
    return _draw(image, shown.boxes, shown.labels, [f"{name} {score:.2f}" for _, score, name in shown])


def draw_objects(image: Image, target: Target, class_names: Sequence[str]) -> Image:
    """A copy of the image with a box and the class name of each object of a data set, difficult ones in parentheses."""
    names = [class_names[label] for label in target.labels]
    texts = [f"({name})" if hard else name for name, hard in zip(names, target.difficult, strict=True)]
    return _draw(image, target.boxes, target.labels, texts)


def _draw(image: Image, boxes: Boxes, labels: Labels, texts: Sequence[str]) -> Image:
    """Boxes float32 [N, 4] in the colours of their classes, the last on top, and over all of them their texts."""
    canvas = PillowImage.fromarray(check_image(image))
    pen = ImageDraw.Draw(canvas)
    short_side = min(canvas.size)
    width = max(1, round(short_side / 180))
    font = ImageFont.load_default(size=max(10, round(short_side / 28)))
    colours = [class_colour(int(label)) for label in labels]
    for (x1, y1, x2, y2), colour in zip(boxes.tolist(), colours, strict=True):
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=width)
    for (x1, y1, *_), text, colour in zip(boxes.tolist(), texts, colours, strict=True):
        _draw_label(pen, canvas.size, (x1, y1), text, colour, font)
    return np.asarray(canvas).copy()


def class_colour(label: int) -> Colour:
    """A strong colour for a class: hues at the golden angle, so that neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb((0.33 + label * 0.618034) % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def save_image(path: str | PathLike[str], image: Image) -> None:
    """Write an image, uint8 [H, W, 3], in the format of the path's ending, whole or not at all.

    Raises DataError for an ending that is no format.
    """
    ending = Path(path).suffix.lower()
    kind = PillowImage.registered_extensions().get(ending)
    if kind is None or kind not in PillowImage.SAVE:
        raise DataError(path, f"{ending or 'no ending'} is not an image format that can be written; use .jpg or .png")
    content = io.BytesIO()
    options = {"quality": 92} if kind == "JPEG" else {}
    PillowImage.fromarray(check_image(image)).save(content, format=kind, **options)
    write_whole(Path(path), content.getvalue())


def _draw_label(
    pen: ImageDraw.ImageDraw,
    canvas: tuple[int, int],
    corner: tuple[float, float],
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Text on a plate above the box's corner, or below its upper edge where there is no room above."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    margin = max(2.0, (bottom - top) / 5)
    plate_width, plate_height = right - left + 2 * margin, bottom - top + 2 * margin
    x = max(0.0, min(corner[0], canvas[0] - plate_width))
    y = corner[1] - plate_height if corner[1] >= plate_height else corner[1]
    pen.rectangle((x, y, x + plate_width, y + plate_height), fill=colour)
    pen.text((x + margin - left, y + margin - top), text, fill=_ink(colour), font=font)


def _ink(colour: Colour) -> Colour:
    """Black or white, whichever reads better on the colour (ITU-R BT.601 luma)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)
