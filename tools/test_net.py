#!/usr/bin/env python
"""Test a trained run: AP per class, recall of the proposals and, on request, the time of every stage beside R-CNN's.

    python tools/test_net.py --run runs/voc07_lite0 --timing
    python tools/test_net.py --run runs/seed0 runs/seed1 --combine mean --out runs/both

Prints the tables and writes metrics.json into the run's folder. Several runs are tested together as one detector, on
the first one's images and windows; a configuration with `[ensemble]` names them otherwise.
`--set regions.kind=rcnn` tests the same detector with R-CNN's warped crops in place of the pooled windows.
Of a classifier it prints top-1 and top-5 errors, by views.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spp_det.classification.config import is_classification
from spp_det.places import as_path
from spp_det.tooling import run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tested = parser.add_mutually_exclusive_group(required=True)
    tested.add_argument(
        "--run", nargs="+", action="extend", type=as_path, help="the folder that train_net.py wrote; several: together"
    )
    tested.add_argument("--config", type=Path, help="a configuration with [ensemble], which names several runs")
    parser.add_argument(
        "--out", type=Path, help="several runs: the folder for metrics.json (default: beside the first)"
    )
    parser.add_argument("--combine", choices=["union", "mean"], help="several runs: their windows (union), or scores")
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
    single = args.config is None and len(args.run) == 1
    if single and args.out:
        parser.error("--out is for several runs: one run's metrics.json lies in its own folder")
    if single and args.combine:
        parser.error("--combine is for several runs")
    if not single and args.timing:
        parser.error("--timing is of one run")
    if single and (args.run[0] / "config.toml").is_file() and is_classification(args.run[0] / "config.toml"):
        from spp_det.classification.testing import evaluate_classifier

        evaluate_classifier(args.run[0], args.data, args.split, args.set, args.skip_bad_images)
        return 0
    from spp_det.pipeline import evaluate_ensemble, evaluate_run  # takes seconds: after what can go wrong without it
    from spp_det.torchrun import processes

    common: dict[str, Any] = {
        "split": args.split,
        "data": args.data,
        "overrides": args.set,
        "store": args.store,
        "skip_bad": args.skip_bad_images,
        "voc_results": args.voc_results,
    }
    with processes() as here:
        if single:
            evaluate_run(args.run[0], timing_images=args.timing, timing_windows=args.windows, here=here, **common)
        else:
            evaluate_ensemble(args.run or [], args.config, args.out, here=here, combine=args.combine, **common)
    return 0


if __name__ == "__main__":
    run_tool(main)
