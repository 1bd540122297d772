"""What looks like this window? One map, thousands of windows, and no training at all.

python examples/explore_a_feature_map.py photo.jpg --box 120 60 260 200 --out alike.jpg

The convolutions see the picture once. The window that you name, and all windows of selective search, are pooled from
that one map into vectors of the same length, whatever their sizes; those whose vectors point the same way look alike.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from spp_det import Detections
from spp_det.boxes import iou
from spp_det.detection import draw, save_image
from spp_det.images import read_image, resize, scaled_size
from spp_det.networks import build_trunk
from spp_det.pooling import pool_windows, window_cells
from spp_det.proposals import selective_search
from spp_det.tooling import run_tool

SHORT_SIDE = 600  # px, to which the picture is resized
LEVELS = (1, 2, 3)  # 1 + 4 + 9 bins a window


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, pool, compare, and draw the windows that are most alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--box", nargs=4, type=float, metavar=("X1", "Y1", "X2", "Y2"), required=True, help="pixels")
    parser.add_argument("--out", default="alike.jpg", help="the picture with windows (alike.jpg)")
    parser.add_argument("--windows", type=int, default=5, help="how many to draw (5)")
    args = parser.parse_args(argv)

    image = read_image(args.picture)  # uint8 [H, W, 3]
    size = image.shape[0], image.shape[1]
    trunk = build_trunk("efficientnet_lite0")
    scaled = scaled_size(size, SHORT_SIDE)
    with torch.inference_mode():
        feature_map = trunk(trunk.tensor(resize(image, scaled))[None])[0].numpy()  # float32 [C, h, w]
    print(f"{size[1]} x {size[0]} pixels, at {scaled[1]} x {scaled[0]} a map of {feature_map.shape}")

    windows = np.concatenate([np.array([args.box], np.float32), selective_search(image).boxes])
    cells = window_cells(windows, size, scaled, feature_map.shape[1:], trunk.stride, trunk.offset)
    vectors = pool_windows(feature_map, cells, LEVELS)  # float32 [N, 14 C]
    print(f"{len(windows)} windows, vectors of {vectors.shape[1]} numbers each")

    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = directions[1:] @ directions[0]  # cosines
    chosen: list[int] = []
    for index in np.argsort(-likeness) + 1:  # the best that overlap neither the window itself nor each other
        if iou(windows[[0, *chosen]], windows[index : index + 1]).max() < 0.3:
            chosen.append(int(index))
        if len(chosen) == args.windows:
            break
    scores = np.concatenate([[1], likeness[np.array(chosen, int) - 1]]).astype(np.float32)
    labels = np.minimum(np.arange(len(scores)), 1)
    found = Detections(windows[[0, *chosen]], scores, labels, ("this", "alike"))
    for box, score, name in found:
        print(f"{name:<6} {score:.3f}  {np.round(box).astype(int).tolist()}")
    save_image(args.out, draw(image, found))
    return 0


if __name__ == "__main__":
    run_tool(main)
