"""Draws docs/images/pooling.png: a window of a photograph, its cells on the map, and the pyramid of them.

python docs/figures/method.py

The photograph comes with scikit-learn: by danielbuechele, CC BY 2.0, flickr.com/photos/danielbuechele/6061409035
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_sample_image

from spp_det.images import resize, scaled_size
from spp_det.networks import build_trunk
from spp_det.pooling import bin_edges, window_cells

OUT = Path(__file__).resolve().parent.parent / "images" / "pooling.png"
BOX = np.array([[80.0, 25, 350, 395]], np.float32)  # the pavilion
SCALE = 480  # px, short side
LEVELS = (1, 2, 3, 6)
RED = "#e4572e"


def main() -> None:
    """Writes the picture."""
    photograph = np.asarray(load_sample_image("china.jpg"))
    size = photograph.shape[0], photograph.shape[1]
    scaled = scaled_size(size, SCALE)
    trunk = build_trunk("efficientnet_lite0")
    with torch.inference_mode():
        maps = trunk(trunk.tensor(resize(photograph, scaled))[None])[0].numpy()  # [C, h, w]
    (cells,) = window_cells(BOX, size, scaled, maps.shape[1:], trunk.stride, trunk.offset)
    x0, y0, x1, y1 = cells
    inside = maps[:, y0 : y1 + 1, x0 : x1 + 1]
    channel = int(np.argmax((inside.mean(axis=(1, 2)) - maps.mean(axis=(1, 2))) / maps.std(axis=(1, 2))))

    figure = Figure(figsize=(11, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(1.5, 1))
    picture = figure.add_subplot(grid[0, :2])
    picture.imshow(photograph)
    left, top, right, bottom = BOX[0]
    picture.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=RED, linewidth=2.5))
    picture.set_title(f"a window of the image, {right - left:.0f} x {bottom - top:.0f} pixels")
    whole = figure.add_subplot(grid[0, 2:])
    whole.imshow(maps[channel], cmap="viridis")
    whole.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0 + 1, y1 - y0 + 1, fill=False, edgecolor=RED, linewidth=2.5))
    height, width = inside.shape[1:]
    whole.set_title(f"its {width} x {height} cells of the map (one channel of {len(maps)})")
    for place, level in enumerate(LEVELS):
        axes = figure.add_subplot(grid[1, place])
        axes.imshow(pooled(inside[channel], level), cmap="viridis", vmin=maps[channel].min(), vmax=maps[channel].max())
        axes.set_title(f"{level} x {level} maxima")
    for axes in figure.axes:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(OUT, dpi=90)


def pooled(cells: np.ndarray, level: int) -> np.ndarray:
    """The maxima of a window's cells, float32 [h, w], in level x level bins."""
    rows, columns = (bin_edges(length, level) for length in cells.shape)
    maxima = [[cells[top:bottom, left:right].max() for left, right in columns] for top, bottom in rows]
    return np.array(maxima)


if __name__ == "__main__":
    main()
