"""Find objects in a picture, say where they are, and draw them.

python examples/detect_and_draw.py photo.jpg --run runs/my_data --out found.jpg
"""

from __future__ import annotations

import argparse

from spp_det import Detector
from spp_det.detection import draw, save_image
from spp_det.images import read_image
from spp_det.tooling import run_tool


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and detect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture")
    parser.add_argument("--run", required=True, help="a trained run: its folder")
    parser.add_argument("--out", default="found.jpg", help="the picture with boxes (found.jpg)")
    parser.add_argument("--min-score", type=float, default=0.0, help="SVM margins from this on (0)")
    args = parser.parse_args(argv)

    image = read_image(args.picture)  # uint8 [H, W, 3], RGB
    detector = Detector.load(args.run)
    detections = detector.detect(image, min_score=args.min_score)
    for (x1, y1, x2, y2), score, name in detections:  # pixels, an SVM margin, a class
        print(f"{name:<12} {score:6.2f}   x {x1:.0f} to {x2:.0f}, y {y1:.0f} to {y2:.0f}")
    save_image(args.out, draw(image, detections, min_score=args.min_score))
    print(f"{len(detections)} objects; see {args.out}")
    return 0


if __name__ == "__main__":
    run_tool(main)
