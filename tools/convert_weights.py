#!/usr/bin/env python
"""Convert the original files: a network of Caffe, or the models of SPP-net's and R-CNN's releases.

    python tools/convert_weights.py NET.caffemodel --out data/weights/NET.safetensors --list
    python tools/convert_weights.py MODEL.mat --out data/models/MODEL

A network becomes one file of weights, which a configuration names as trunk.weights. A .mat becomes a folder with its
SVMs or its box regressors. docs/original-files.md says what is in them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spp_det.tooling import run_tool


def main(argv: list[str] | None) -> int:
    """Parse the arguments and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a .caffemodel (R-CNN's have no suffix), or a .mat")
    parser.add_argument("--out", type=Path, help="the .safetensors file, or for a .mat the folder, to write")
    parser.add_argument("--list", action="store_true", help="print the names and shapes of a network's weights")
    args = parser.parse_args(argv)
    is_mat = args.source.suffix == ".mat"
    if args.out is None and (is_mat or not args.list):
        parser.error("--out says where to write")
    if args.out is not None and (args.out.suffix == ".safetensors") == is_mat:
        parser.error("--out is a folder for a .mat" if is_mat else "--out is a .safetensors file for a network")
    from spp_det.original import convert_caffemodel, convert_models, read_caffemodel  # after what can go wrong

    if is_mat:
        for path in convert_models(args.source, args.out):
            print(path)
        return 0
    tensors = read_caffemodel(args.source) if args.out is None else convert_caffemodel(args.source, args.out)
    if args.list:
        for name, array in tensors.items():
            print(f"{name:<24} {' x '.join(map(str, array.shape))}")
    if args.out is not None:
        print(f"{args.out}: {len(tensors)} tensors, {sum(array.size for array in tensors.values()):,} numbers")
    return 0


if __name__ == "__main__":
    run_tool(main)
