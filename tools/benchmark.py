#!/usr/bin/env python
"""Speed of single parts, beside what they are measured against.

python tools/benchmark.py pooling [--windows 2000] [--json FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from spp_det.evaluation.pooling_speed import pooling_table, time_pooling
from spp_det.files import write_json
from spp_det.memory import keep_memory
from spp_det.pipeline.parallel import available_cores
from spp_det.tooling import console, run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    pooling = parts.add_parser("pooling", help="pool_windows beside a memory copy and torchvision's roi_pool")
    pooling.add_argument("--windows", type=int, default=2000, help="windows in a call (2000)")
    pooling.add_argument("--channels", type=int, default=256, help="channels of the map (256)")
    pooling.add_argument("--repeats", type=int, default=15, help="the median of so many (15)")
    pooling.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args(argv)
    torch.set_num_threads(available_cores())
    keep_memory()
    result = time_pooling(num_windows=args.windows, channels=args.channels, repeats=args.repeats)
    console.print(pooling_table(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == "__main__":
    run_tool(main)
