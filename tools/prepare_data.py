"""Check a data set and count what is in it; or generate one; or download one."""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det.datasets.download import DOWNLOADS, download_voc
from spp_det.datasets.recognise import FORMS
from spp_det.datasets.shapes import make_shapes
from spp_det.report.checking import check_data_set
from spp_det.tooling import console, run_tool, track


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments; a mistake in them ends the program with code 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--data", type=Path, metavar="DIR", help="check this data set, of VOC's, COCO's or YOLO's form")
    task.add_argument("--make", choices=["shapes"], help="generate this data set into --out")
    task.add_argument("--download", choices=sorted(DOWNLOADS), help="download this data set into --out")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where --make and --download put the data")
    check = parser.add_argument_group("with --data")
    check.add_argument("--format", choices=sorted(FORMS), help="its form (default: found by looking)")
    check.add_argument("--classes", nargs="+", metavar="NAME", help="keep these classes only (default: all there are)")
    check.add_argument("--year", help="which VOC{year} of a VOCdevkit folder (default: 2007, else the last)")
    check.add_argument("--split", nargs="+", default=[], metavar="NAME", help="default: those to train and to test on")
    check.add_argument("--sheet", type=Path, metavar="FILE", help="draw some images with their boxes into this picture")
    make = parser.add_argument_group("with --make shapes")
    make.add_argument("--train", type=int, default=120, metavar="N", help="images to train on (default: 120)")
    make.add_argument("--test", type=int, default=60, metavar="N", help="images to test on (default: 60)")
    make.add_argument("--seed", type=int, default=0, help="what the pictures follow from (default: 0)")
    args = parser.parse_args(argv)
    if args.data is None and args.out is None:
        parser.error("--make and --download need --out DIR")
    if args.train < 1 or args.test < 1 or args.seed < 0:
        parser.error("--train and --test are at least 1, and --seed at least 0")
    if args.classes and len(set(args.classes)) < len(args.classes):
        parser.error("--classes names a class twice")
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the command; 1 where the data set has a fault."""
    args = parse(argv)
    if args.make:
        make_shapes(args.out, args.train, args.test, args.seed, track)
        console.print(f"{args.out}: {args.train} images to train on, {args.test} to test on", soft_wrap=True)
        return 0
    if args.download:
        console.print(f"unpacked into {download_voc(args.download, args.out)}", soft_wrap=True)
        return 0
    return check(args)


def check(args: argparse.Namespace) -> int:
    """Check a data set and print what it holds; 1 where it has a fault."""
    reports = check_data_set(args.data, args.format, args.year, args.classes, args.split, args.sheet)
    return int(any(report.faults for report in reports))


if __name__ == "__main__":
    run_tool(main)
