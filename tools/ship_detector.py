#!/usr/bin/env python
"""Make the detector that comes with the package out of a trained and calibrated run.

    python tools/ship_detector.py --run runs/voc0712_lite0

`make shipped DATA=data/VOCdevkit` does all that leads there, from the photographs on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det.tooling import run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and write the files."""
    from spp_det.shipped import SHIPPED

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path, help="the folder that train_net.py wrote")
    parser.add_argument("--out", type=Path, default=SHIPPED, help=f"the folder to write to ({SHIPPED})")
    args = parser.parse_args(argv)
    from spp_det.pipeline.shipping import ship_run  # takes seconds

    print(f"{args.out}: {ship_run(args.run, args.out) / 1e6:.1f} MB of weights")
    return 0


if __name__ == "__main__":
    run_tool(main)
