"""From a folder of images and boxes to a detector, from Python; and then one thing that the detector says.

python examples/train_on_a_folder.py my_data/ --out runs/my_data

The folder is in YOLO's, COCO's or VOC's form. `spp-det train --data my_data/` does the same on the command line.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det import Detector
from spp_det.datasets import open_dataset
from spp_det.pipeline import evaluate_run, train
from spp_det.pipeline.choosing import plan_training
from spp_det.tooling import run_tool


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, train, test, and look at one image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/example"), help="the run's folder (runs/example)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings, e.g. svm.C=0.01")
    args = parser.parse_args(argv)

    plan = plan_training(args.data, args.set)  # what the data are, and settings that fit them
    print("\n".join(plan.said))
    train(plan.config, args.out)  # stopped and started again it goes on where it was
    metrics = evaluate_run(args.out)  # prints the table, too
    print(f"mean average precision: {100 * metrics['voc10']['map']:.1f}%")

    tests = open_dataset(plan.config.data, plan.config.data.test)
    first = tests.ids[0]
    detections = Detector.load(args.out).detect(tests.image(first), min_score=0)
    print(f"{first}: {', '.join(detections.names) or 'nothing'}, and there is {len(tests.target(first))} to find")
    return 0


if __name__ == "__main__":
    run_tool(main)
