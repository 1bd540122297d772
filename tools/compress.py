#!/usr/bin/env python
"""Compress a trained run: thin fully connected layers and a first look at every window, in a new run beside it.

    python tools/compress.py --run runs/voc07_lite0 --out runs/voc07_lite0_small --rank 256 128

Prints size, speed and mAP before and after. Stopped while the two are tested, the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det.tooling import run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and compress."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path, help="the folder that train_net.py wrote")
    parser.add_argument("--out", required=True, type=Path, help="the folder of the new run")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--rank", type=int, nargs="+", metavar="R", help="of fc6 and fc7: one number, or two; without, as they learnt"
    )
    size.add_argument("--energy", type=float, help="the share in 0 .. 1 of what the layers say that stays")
    parser.add_argument(
        "--keep", type=float, default=0.1, help="windows that the first look lets through (0.1; 1: all)"
    )
    parser.add_argument("--width", type=int, nargs=2, metavar="N", help="units of fc6 and of fc7 that stay (all)")
    parser.add_argument("--images", type=int, default=1200, help="training images to compress for (1200)")
    parser.add_argument("--data", help="the data set's folder, in place of the one that was trained on")
    parser.add_argument("--windows", type=int, default=2000, help="windows an image while timing (2000)")
    parser.add_argument("--no-test", dest="tested", action="store_false", help="leave out the mAP, which takes longest")
    args = parser.parse_args(argv)
    if args.rank and len(args.rank) > 2:
        parser.error("--rank takes one number for both layers, or two")
    if args.images < 1 or args.windows < 1:
        parser.error("--images and --windows are at least 1")
    from spp_det.detection.compression import Compression  # takes seconds: after what can go wrong without it
    from spp_det.pipeline.compression import compress_run

    rank = args.rank * 2 if args.rank and len(args.rank) == 1 else args.rank
    width = None if args.width is None else (args.width[0], args.width[1])
    settings = Compression(rank, args.energy, args.keep, width=width)
    compress_run(args.run, args.out, settings, args.data, args.images, args.windows, args.tested)
    return 0


if __name__ == "__main__":
    run_tool(main)
