#!/usr/bin/env python
"""Speed of parts and of the whole, beside what they are measured against.

python tools/benchmark.py pooling [--windows 2000] [--json FILE]
python tools/benchmark.py proposals --data data/VOCdevkit --images 100 --against opencv [--plot FILE] [--json FILE]
python tools/benchmark.py proposals-stages --data data/VOCdevkit [--json FILE]
python tools/benchmark.py proposals-scaling --data data/VOCdevkit [--plot FILE] [--json FILE]
python tools/benchmark.py faster-rcnn --data data/VOCdevkit [--json FILE]
python tools/benchmark.py views --trunk zf5_table1 --data data/VOCdevkit [--json FILE]
python tools/benchmark.py detect --trunk alexnet --windows 2000 --data data/VOCdevkit [--json FILE]
python tools/benchmark.py export --data data/VOCdevkit [--run runs/voc07_lite0] [--json FILE]
python tools/benchmark.py gpu --data data/VOCdevkit [--scales 480 576 688 864 1200] [--workers 16] [--json FILE]
python tools/benchmark.py add-class --run runs/voc07_lite0 --name dog --data data/VOCdevkit --images 20 [--json FILE]
python tools/benchmark.py time-to-detector --data data/VOCdevkit --class cat --images 50 200 --json FILE [--plot FILE]
python tools/benchmark.py store --images 100000 --work FOLDER [--json FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from spp_det import benchmarks
from spp_det.config import Precision
from spp_det.files import write_json
from spp_det.tooling import run_tool

PEERS = Path(__file__).resolve().parent.parent / ".venv-peers"  # what `make peers` makes


def main(argv: list[str] | None) -> int:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)

    pooling = parts.add_parser("pooling", help="pool_windows beside a memory copy and torchvision's roi_pool")
    pooling.add_argument("--channels", type=int, default=256, help="channels of the map (256)")
    pooling.add_argument("--repeats", type=int, default=15, help="the median of so many (15)")
    pooling.set_defaults(measure=benchmarks.measure_pooling)

    proposals = parts.add_parser("proposals", help="selective search beside OpenCV's: time, windows, recall")
    proposals.add_argument("--split", default="test", help="a split of VOC2007 (test)")
    proposals.add_argument("--images", type=int, default=100, help="so many of its images, evenly spread (100)")
    proposals.add_argument("--against", choices=("opencv",), default="opencv", help="whom to measure against (opencv)")
    proposals.add_argument("--plot", type=Path, help="draw recall against windows, all modes, into this file")
    proposals.set_defaults(measure=benchmarks.measure_proposals)

    scaling = parts.add_parser("proposals-scaling", help="selective search on images of up to 4000 x 3000 pixels")
    scaling.add_argument("--repeats", type=int, default=3, help="the median of so many images of each size (3)")
    scaling.add_argument("--plot", type=Path, help="draw seconds against pixels into this file")
    scaling.set_defaults(measure=benchmarks.measure_scaling)

    stages = parts.add_parser("proposals-stages", help="where selective search spends its time")
    stages.add_argument("--images", type=int, default=30, help="so many test images, evenly spread (30)")
    stages.set_defaults(measure=benchmarks.measure_proposal_stages)

    detect = parts.add_parser("detect", help="SPP-net beside R-CNN, stage by stage, same trunk, windows and threads")
    detect.add_argument("--data", required=True, help="a VOCdevkit folder")
    detect.add_argument("--trunk", default="alexnet", help="a trunk of the package (alexnet)")
    detect.add_argument("--weights", default="random", help="its weights; the time does not depend on them (random)")
    detect.add_argument("--scales", type=int, nargs="+", default=[688], help="short sides of the image, px (688)")
    detect.add_argument("--images", type=int, default=5, help="the median over so many test images (5)")
    detect.add_argument("--rank", type=int, nargs=2, default=[256, 128], help="of fc6 and fc7, compressed (256 128)")
    detect.add_argument("--width", type=int, nargs=2, metavar="N", help="units of fc6 and fc7, compressed (all)")
    detect.add_argument("--keep", type=float, default=0.05, help="windows that the first look keeps (0.05)")
    detect.add_argument(
        "--against", choices=("opencv",), help="whose proposals R-CNN has in one more line of the table"
    )
    detect.add_argument("--run", type=Path, help="a trained run, in place of untrained layers")
    detect.add_argument("--compressed", type=Path, help="the run that tools/compress.py made of --run")
    detect.add_argument("--rcnn-images", type=int, help="time R-CNN on so many of them (all)")
    detect.add_argument("--tried", type=int, default=128, help="choose R-CNN's settings by so many windows (128)")
    detect.add_argument("--shared", action="store_true", help="one thread and its processor time: for a busy machine")
    detect.set_defaults(measure=benchmarks.measure_detect)

    faster = parts.add_parser("faster-rcnn", help="the whole of detect beside torchvision's Faster R-CNN, same trunk")
    faster.add_argument("--trunk", default="efficientnet_lite0", help="a trunk of the package (efficientnet_lite0)")
    faster.add_argument("--scale", type=int, default=600, help="short side of the image, px (600)")
    faster.add_argument("--images", type=int, default=15, help="the median over so many test images (15)")
    faster.set_defaults(measure=benchmarks.measure_faster_rcnn)

    views = parts.add_parser("views", help="98 views of a classifier pooled from maps, beside 98 crops")
    views.add_argument("--trunk", default="zf5_table1", help="a trunk of the package (zf5_table1)")
    views.add_argument("--images", type=int, default=3, help="the median over so many test images (3)")
    views.add_argument("--repeats", type=int, default=1, help="runs over each image (1)")
    views.add_argument("--precision", choices=get_args(Precision), default="float32", help="of the products (float32)")
    views.add_argument("--shared", action="store_true", help="one thread and its processor time: for a busy machine")
    views.set_defaults(measure=benchmarks.measure_views)

    exported = parts.add_parser("export", help="an exported detector by onnxruntime, beside the one of torch")
    exported.add_argument("--run", type=Path, help="a trained run, in place of untrained layers, dense and compressed")
    exported.add_argument("--trunk", default="efficientnet_lite0", help="else a trunk (efficientnet_lite0)")
    exported.add_argument("--weights", default="default", help="and its weights (default)")
    exported.add_argument("--scale", type=int, default=600, help="and the short side of the image, px (600)")
    exported.add_argument("--images", type=int, default=5, help="the median over so many test images (5)")
    exported.set_defaults(measure=benchmarks.measure_export)

    gpu = parts.add_parser("gpu", help="detect on a GPU: stages beside their floor, images a second with proposals")
    gpu.add_argument("--trunk", default="alexnet", help="a trunk of the package (alexnet)")
    gpu.add_argument("--scales", type=int, nargs="+", default=[688], help="short sides of the image, px (688)")
    gpu.add_argument("--images", type=int, default=5, help="the median over so many test images (5)")
    gpu.add_argument("--workers", type=int, default=16, help="processes that make proposals (16)")
    gpu.add_argument("--many", type=int, default=500, help="images that are timed with proposals (500)")
    gpu.add_argument("--device", default="cuda", help="cuda or cuda:N (cuda)")
    gpu.set_defaults(measure=benchmarks.measure_gpu)

    adding = parts.add_parser("add-class", help="one more class for a trained run, from a few images")
    adding.add_argument("--run", type=Path, required=True, help="a trained run; it stays as it is")
    adding.add_argument("--name", required=True, help="the class; where the run knows it, it is removed first")
    adding.add_argument("--data", required=True, help="a data set with images of the class")
    adding.add_argument("--split", default="trainval", help="which of its images (trainval)")
    adding.add_argument("--images", type=int, default=20, help="so many of them (20)")
    adding.add_argument("--test", type=int, default=0, help="take the AP on so many test images, before and after (0)")
    adding.set_defaults(measure=benchmarks.measure_adding)

    race = parts.add_parser("time-to-detector", help="AP against time on a small set, beside Faster R-CNN, same trunk")
    race.add_argument("--data", required=True, help="a data set, with images to test on")
    race.add_argument("--class", dest="name", required=True, help="the class to learn")
    race.add_argument("--images", type=int, nargs="+", default=[50], help="so many images of it to learn from (50)")
    race.add_argument("--test", type=int, default=200, help="so many images to test on, half of them with it (200)")
    race.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some of the settings, by name (all)")
    race.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing more after so many (no end)")
    race.add_argument("--plot", type=Path, help="draw AP against time into this file")
    race.set_defaults(measure=benchmarks.measure_race)

    store = parts.add_parser("store", help="a start, and spp-det status, with a large data set in the store")
    store.add_argument("--images", type=int, default=100_000, help="so many small ones are made (100000)")
    store.add_argument("--work", type=Path, required=True, help="the folder of images and store, some 2 GB; it stays")
    store.set_defaults(measure=benchmarks.measure_store_scale)

    for part in (pooling, detect, exported, gpu):
        part.add_argument("--windows", type=int, default=2000, help="windows of an image (2000)")
    for part in (proposals, scaling, stages, faster, views, exported, gpu):
        part.add_argument("--data", required=True, help="a VOCdevkit folder")
    for part in (proposals, scaling, stages):
        part.add_argument(
            "--mode", choices=("fast", "released", "quality"), default="fast", help="of selective search (fast)"
        )
    for part in (pooling, proposals, scaling, stages, detect, faster, views, adding, exported, gpu, store):
        part.add_argument("--json", type=Path, help="write the figures to this file")
    race.add_argument("--json", type=Path, required=True, help="the points; what it has is not measured again")
    parser.set_defaults(peers=PEERS)
    args = parser.parse_args(argv)
    if args.part == "detect" and (args.run is None) != (args.compressed is None):
        parser.error("--run and --compressed go together")

    result = args.measure(args)
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    run_tool(main)
