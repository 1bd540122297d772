#!/usr/bin/env python
"""Test a trained run: AP per class, recall of the proposals and, on request, the time of every stage beside R-CNN's.

    python tools/test_net.py --run runs/voc07_lite0 --timing

Prints the tables and writes metrics.json into the run's folder. `--set regions.kind=rcnn` tests the same detector with
R-CNN's warped crops in place of the pooled windows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det.tooling import run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path, help="the folder that train_net.py wrote")
    parser.add_argument("--split", help="the images to test on (default: the configuration's data.test)")
    parser.add_argument("--data", help="the data set's folder, in place of the one that was trained on")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change settings, e.g. detect.order=rcnn",
    )
    parser.add_argument(
        "--timing", nargs="?", type=int, const=5, default=0, metavar="N", help="time both detectors on N images (5)"
    )
    parser.add_argument("--windows", type=int, default=2000, help="windows an image while timing (2000)")
    parser.add_argument("--store", type=Path, help="where stages are kept (default: the one that the training used)")
    parser.add_argument(
        "--voc-results", type=Path, metavar="DIR", help="write the detections as the VOC devkit's result files"
    )
    parser.add_argument(
        "--skip-bad-images", action="store_true", help="go on without images that are broken; list them"
    )
    args = parser.parse_args(argv)
    from spp_det.pipeline import evaluate_run  # takes seconds: after what can go wrong without it

    evaluate_run(
        args.run,
        split=args.split,
        data=args.data,
        overrides=args.set,
        timing_images=args.timing,
        timing_windows=args.windows,
        store=args.store,
        skip_bad=args.skip_bad_images,
        voc_results=args.voc_results,
    )
    return 0


if __name__ == "__main__":
    run_tool(main)
