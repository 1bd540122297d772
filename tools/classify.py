#!/usr/bin/env python
"""Whole images to classes: vectors of any layer of a network, and linear SVMs on them.

    python tools/classify.py features --data data/VOCdevkit --split trainval --layer pooled --side 392 --out train.st
    python tools/classify.py features --data data/VOCdevkit --split test --layer pooled --side 392 --out test.st
    python tools/classify.py fit --features train.st --out svm.st
    python tools/classify.py test --svm svm.st --features test.st

    python tools/classify.py features --data data/caltech101 --out caltech.st
    python tools/classify.py test --features caltech.st --splits 10

--data is a VOC devkit, scored by average precision, or a folder of class folders, scored by accuracy. With --splits
there is no SVM to name: each split learns its own from 30 images a class and is tested on up to 50 others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from spp_det.config import Precision
from spp_det.tooling import console, run_tool


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments; a mistake in them ends the program with code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)

    features = parts.add_parser("features", help="compute the vectors of a data set")
    features.add_argument("--data", required=True, help="a VOC devkit, or a folder of class folders")
    features.add_argument("--split", default="", help="of a devkit (trainval), or a folder below --data")
    features.add_argument("--year", default="2007", help="of a devkit (2007)")
    features.add_argument("--classes", nargs="+", metavar="NAME", help="the class names of your own data set")
    features.add_argument("--trunk", default="efficientnet_lite0", help="the network (efficientnet_lite0)")
    features.add_argument("--weights", default="default", help="its weights: default, random, or a file")
    features.add_argument("--input", default="default", help="its input: default, torchvision or caffe")
    features.add_argument("--run", help="a classifier trained here, in place of --trunk")
    features.add_argument("--layer", default="pooled", help="conv1 .., map, pooled, fc6 or fc7 (pooled)")
    features.add_argument("--levels", type=int, nargs="+", default=[1, 2, 3, 6], help="of the pyramid (1 2 3 6)")
    features.add_argument("--view", choices=("full", "crop", "warp"), default="full", help="what is seen (full)")
    features.add_argument("--side", type=int, default=224, help="px; the image's short side (224)")
    features.add_argument("--precision", choices=get_args(Precision), default="auto", help="of the products (auto)")
    features.add_argument("--out", type=Path, required=True, help="the file of vectors")

    fit = parts.add_parser("fit", help="learn linear SVMs")
    fit.add_argument("--features", type=Path, required=True, help="vectors to learn from")
    fit.add_argument("--out", type=Path, required=True, help="the file of SVMs")

    test = parts.add_parser("test", help="average precision, or accuracy")
    test.add_argument("--features", type=Path, required=True, help="vectors to test on")
    test.add_argument("--svm", type=Path, help="what fit wrote")
    test.add_argument("--splits", type=int, default=0, help="learn and test on so many random splits instead")
    test.add_argument("--train", type=int, default=30, help="with --splits: images a class to learn from (30)")
    test.add_argument("--test", type=int, default=50, help="with --splits: at most so many to test on (50)")
    for part in (fit, test):
        part.add_argument("--C", type=float, default=1.0, help="the weight of the hinge loss (1)")
    args = parser.parse_args(argv)
    if args.part == "test" and bool(args.svm) == bool(args.splits):
        parser.error("name --svm, or so many --splits")
    if args.part != "features" and args.C <= 0:
        parser.error("--C is above 0")
    return args


def main(argv: list[str] | None) -> int:
    """Do one of the three."""
    args = parse(argv)
    from spp_det.classification import feature_files as files  # takes seconds: after what can go wrong without it
    from spp_det.classification import scoring
    from spp_det.classification.features import ImageFeatures

    if args.part == "features":
        network = {"trunk": args.trunk, "weights": args.weights, "input": args.input, "run": args.run}
        seen = {"layer": args.layer, "levels": tuple(args.levels), "view": args.view, "side": args.side}
        extractor = ImageFeatures(**network, **seen, precision=args.precision, verbose=True)
        features = files.compute_features(extractor, args.data, args.split, args.year, args.classes)
        files.write_features(args.out, features)
        console.print(f"{args.out}: {len(features.vectors)} vectors of {features.vectors.shape[1]}", soft_wrap=True)
        return 0
    features = files.read_features(args.features)
    if args.part == "fit":
        files.write_svm(args.out, files.fit_svm(features, args.C), features)
        console.print(
            f"{args.out}: {len(features.class_names)} classes, {len(features.vectors)} images", soft_wrap=True
        )
    elif args.splits:
        console.print(scoring.split_line(features, args.C, args.splits, args.train, args.test), soft_wrap=True)
    else:
        console.print(scoring.score_table(files.read_svm(args.svm, features), features))
    return 0


if __name__ == "__main__":
    run_tool(main)
