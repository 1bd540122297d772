"""A contact sheet: some images of a data set with their boxes, on one picture, to look at before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from spp_det.boxes import rescale
from spp_det.datasets import Dataset
from spp_det.detection.drawing import draw_objects
from spp_det.errors import DataError
from spp_det.images import resize, scaled_size
from spp_det.structures import Image, Target

CELL = 240  # px, the longer side of an image on the sheet
CAPTION = 18  # px below it
GAP = 8  # px
PAPER = 246  # gray


def contact_sheet(dataset: Dataset, count: int = 24, columns: int = 6, first: Sequence[str] = ()) -> Image:
    """A sheet of up to `count` images with the boxes and classes of their objects: uint8 [H, W, 3].

    first: ids to show before others, such as those with odd boxes; the rest is evenly spread over the data set. Images
    that cannot be read are passed over. Raises DataError where none can.
    """
    cells = []
    for image_id in _chosen(dataset.ids, count, first):
        try:
            cells.append(_cell(dataset, image_id))
        except DataError:
            continue  # the check names it
    if not cells:
        raise DataError(dataset.ids[0] if dataset.ids else "the data set", "no image of it can be shown")
    columns = min(columns, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    sheet = np.full((GAP + len(rows) * _pitch(CAPTION), GAP + columns * _pitch(0), 3), PAPER, np.uint8)
    for row, some in enumerate(rows):
        for column, cell in enumerate(some):
            top, left = GAP + row * _pitch(CAPTION), GAP + column * _pitch(0)
            sheet[top : top + CELL + CAPTION, left : left + CELL] = cell
    return sheet


def _pitch(caption: int) -> int:
    return CELL + caption + GAP


def _chosen(ids: Sequence[str], count: int, first: Sequence[str]) -> list[str]:
    """Those to show first, at most half of the sheet, then every so many of the others, in the data set's order."""
    before = list(dict.fromkeys(image_id for image_id in first if image_id in set(ids)))[: count // 2]
    left = [image_id for image_id in ids if image_id not in set(before)]
    places = np.linspace(0, len(left) - 1, min(count - len(before), len(left))).astype(int)
    return before + [left[place] for place in places]


def _cell(dataset: Dataset, image_id: str) -> Image:
    """One image with its objects and its id: uint8 [CELL + CAPTION, CELL, 3]."""
    image, target = dataset.image(image_id), dataset.target(image_id)
    size = image.shape[0], image.shape[1]
    small = scaled_size(size, max(1, round(CELL * min(size) / max(size))))
    small = min(small[0], CELL), min(small[1], CELL)
    moved = Target(rescale(target.boxes, size, small), target.labels, target.difficult)
    drawn = draw_objects(resize(image, small), moved, dataset.class_names)
    cell = np.full((CELL + CAPTION, CELL, 3), PAPER, np.uint8)
    left = (CELL - small[1]) // 2
    cell[CELL - small[0] : CELL, left : left + small[1]] = drawn
    canvas = PillowImage.fromarray(cell)
    name = image_id if len(image_id) <= 34 else f"..{image_id[-32:]}"
    ImageDraw.Draw(canvas).text((2, CELL + 2), name, fill=(60, 60, 60), font=ImageFont.load_default(size=12))
    return np.asarray(canvas)
