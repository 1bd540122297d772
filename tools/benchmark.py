#!/usr/bin/env python
"""Speed of parts and of the whole, beside what they are measured against.

python tools/benchmark.py pooling [--windows 2000] [--json FILE]
python tools/benchmark.py detect --trunk alexnet --windows 2000 --data data/VOCdevkit [--json FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from spp_det.files import write_json
from spp_det.tooling import console, progress, run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)

    pooling = parts.add_parser("pooling", help="pool_windows beside a memory copy and torchvision's roi_pool")
    pooling.add_argument("--channels", type=int, default=256, help="channels of the map (256)")
    pooling.add_argument("--repeats", type=int, default=15, help="the median of so many (15)")
    pooling.set_defaults(measure=measure_pooling)

    detect = parts.add_parser("detect", help="SPP-net beside R-CNN, stage by stage, same trunk, windows and threads")
    detect.add_argument("--data", required=True, help="a VOCdevkit folder")
    detect.add_argument("--trunk", default="alexnet", help="a trunk of the package (alexnet)")
    detect.add_argument("--weights", default="random", help="its weights; the time does not depend on them (random)")
    detect.add_argument("--scales", type=int, nargs="+", default=[688], help="short sides of the image, px (688)")
    detect.add_argument("--images", type=int, default=5, help="the median over so many test images (5)")
    detect.set_defaults(measure=measure_detect)

    for part in (pooling, detect):
        part.add_argument("--windows", type=int, default=2000, help="windows of an image (2000)")
        part.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args(argv)

    result = args.measure(args)
    if args.json:
        write_json(args.json, result)
    return 0


def measure_pooling(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `pooling`."""
    from spp_det.evaluation.pooling_speed import pooling_table, time_pooling

    prepare()
    result = time_pooling(num_windows=args.windows, channels=args.channels, repeats=args.repeats)
    console.print(pooling_table(result))
    return result


def measure_detect(args: argparse.Namespace) -> dict[str, Any]:
    """The figures and the table of `detect`."""
    from spp_det.datasets import VOCDataset
    from spp_det.evaluation import timing_table
    from spp_det.evaluation.detect_speed import time_untrained

    prepare()
    dataset = VOCDataset(args.data, split="test")
    chosen = dataset.ids[:: max(1, len(dataset) // args.images)][: args.images]
    images = [(image_id, dataset.image(image_id)) for image_id in chosen]
    with progress("timing") as show:
        result = time_untrained(images, args.trunk, args.weights, args.scales, args.windows, progress=show)
    console.print(timing_table(result))
    console.print(f"{args.trunk}, scales {args.scales}: SPP-net is {result['speedup']:.1f}x faster without proposals")
    return result


def prepare() -> None:
    """All cores, and memory that is not given back."""
    import torch

    from spp_det.memory import keep_memory
    from spp_det.pipeline.parallel import available_cores

    torch.set_num_threads(available_cores())
    keep_memory()


if __name__ == "__main__":
    run_tool(main)
