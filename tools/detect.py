#!/usr/bin/env python
"""Find objects in pictures with a trained run, and draw them.

python tools/detect.py --run runs/voc07_lite0 photo.jpg other.png --out found/
python tools/detect.py --run runs/shapes --split test --images 8 --out runs/shapes/pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det.tooling import run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and detect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", help="image files, folders, videos")
    parser.add_argument("--run", required=True, type=Path, help="the folder that train_net.py wrote")
    parser.add_argument("--split", help="take the pictures from this split of the run's data set instead")
    parser.add_argument("--images", type=int, default=8, help="how many of the split (8)")
    parser.add_argument("--min-score", type=float, default=-0.5, help="draw SVM scores from this on (-0.5)")
    parser.add_argument(
        "--out", type=Path, default=Path("found"), help="the folder for the pictures with boxes (found)"
    )
    args = parser.parse_args(argv)
    if not args.pictures and not args.split:
        parser.error("name pictures, or a --split")
    from spp_det.pipeline import Looking, detect_files, split_pictures  # takes seconds: after what can go wrong without

    pictures = split_pictures(args.run, args.split, args.images) if args.split else args.pictures
    return detect_files(args.run, pictures, Looking(args.min_score, out=args.out))


if __name__ == "__main__":
    run_tool(main)
