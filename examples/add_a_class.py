"""Teach a trained detector one more class, from some twenty images, and look at what it finds.

python examples/add_a_class.py runs/my_data --name mug --data mugs/ --out runs/with_mug

The convolutions and all other classes stay as they are, bit by bit; with more images later the same call goes on from
the examples that it kept. `spp-det add-class runs/my_data --name mug --data mugs/` does the same on the command line.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from spp_det import Detector
from spp_det.pipeline.classes import data_set, find_examples
from spp_det.tooling import run_tool


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, read the examples, learn, look, and write the detector."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a trained run: its folder, which stays as it is")
    parser.add_argument("--name", required=True, help="the class, as the annotations call it")
    parser.add_argument("--data", type=Path, required=True, help="images of it, in VOC's, COCO's or YOLO's form")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the detector that knows it")
    args = parser.parse_args(argv)

    examples = find_examples(data_set(args.data, None, args.name), args.name)  # whatever form it has
    detector = Detector.load(args.run)
    before = detector.svms.coef_
    begin = time.perf_counter()
    detector.add_class(args.name, examples.images, examples.boxes)  # files, and float32 [n, 4] for each, in pixels
    seconds = time.perf_counter() - begin
    print(f"{args.name}: {examples.objects} objects in {len(examples.images)} images, learnt in {seconds:.1f} s")
    same = np.array_equal(detector.svms.coef_[: len(before)], before)
    print(f"the other classes, {', '.join(detector.class_names[:-1])}, are {'as they were' if same else 'CHANGED'}")
    picture = examples.images[0]
    for box, score, name in detector.detect(picture):
        if name == args.name:
            print(f"{picture.name}: {name} {score:.2f} at {np.round(box).astype(int).tolist()}")
    detector.save(args.out)
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    run_tool(main)
