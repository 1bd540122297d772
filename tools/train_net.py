#!/usr/bin/env python
"""Train a detector: every stage of an experiment, from images and boxes to SVMs and box regressors. Or a classifier.

    python tools/train_net.py --config configs/voc07_lite0.toml --data data/VOCdevkit --out runs/voc07_lite0
    python tools/train_net.py --config configs/imagenet_spp_zf5.toml --data data/imagenet
    torchrun --standalone --nproc-per-node 8 tools/train_net.py --config configs/voc07_lite0.toml

Stopped at any moment, the same command goes on where it was; a stage whose settings and inputs are unchanged is not run
again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det.classification.config import is_classification, load_classification
from spp_det.config import load_config
from spp_det.places import as_path
from spp_det.tooling import run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, type=Path, help="the experiment, a TOML file (see configs/)")
    parser.add_argument("--data", help="the data set's folder, in place of the configuration's data.root")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="change settings, e.g. svm.C=0.01"
    )
    parser.add_argument("--out", type=as_path, help="the run's folder (default: runs/ and the configuration's name)")
    parser.add_argument("--store", type=Path, help="where stages are kept (default: store/ beside the run's folder)")
    parser.add_argument(
        "--skip-bad-images", action="store_true", help="go on without images that are broken; list them"
    )
    args = parser.parse_args(argv)
    replaced = {"data__root": args.data} if args.data else {}
    out = args.out or Path("runs") / args.config.stem
    if is_classification(args.config):
        settings = load_classification(args.config, args.set, **replaced)
        from spp_det.classification.training import train_classifier

        train_classifier(settings, out, skip_bad=args.skip_bad_images)
        return 0
    config = load_config(args.config, args.set, **replaced)
    from spp_det.pipeline import train  # takes seconds: after what can go wrong without it
    from spp_det.torchrun import processes

    with processes() as here:
        train(config, out, store=args.store, skip_bad=args.skip_bad_images, here=here)
    return 0


if __name__ == "__main__":
    run_tool(main)
