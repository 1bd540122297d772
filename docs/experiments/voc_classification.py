"""VOC2007 classification by SVMs on whole-image vectors: layers, pyramids, crop against the whole image, and its size.

    python docs/experiments/voc_classification.py --data data/VOCdevkit --trunk vgg16 --layers conv10 conv13
    python docs/experiments/voc_classification.py --data data/VOCdevkit --trunk alexnet --sides 224 300 392

Each line is what `tools/classify.py features`, `fit` and `test` give for its settings; the levels of a pyramid are cut
out of one computation of it. Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.table import Table

from spp_det.classification import ImageFeatures
from spp_det.classification.feature_files import compute_features
from spp_det.classification.protocols import class_ap
from spp_det.classification.svm import MultiLabelSVM
from spp_det.datasets import VOC_CLASSES
from spp_det.errors import DataError
from spp_det.files import read_json, write_json
from spp_det.pooling import PAPER_LEVELS
from spp_det.tooling import console, run_tool

Vectors = npt.NDArray[np.float32]
LEVELS: dict[str, tuple[int, ...]] = {f"{n} x {n}": (n,) for n in PAPER_LEVELS} | {"pyramid": PAPER_LEVELS}


def part_of(pyramid: Vectors, levels: tuple[int, ...]) -> Vectors:
    """Some levels of vectors [N, C * 50] of the whole pyramid, scaled to length 1."""
    channels = pyramid.shape[1] // sum(n * n for n in PAPER_LEVELS)
    ends = channels * np.cumsum([n * n for n in PAPER_LEVELS])
    parts = [pyramid[:, end - channels * n * n : end] for n, end in zip(PAPER_LEVELS, ends, strict=True) if n in levels]
    chosen = np.concatenate(parts, 1)
    return chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)


def measure(data: Path, settings: dict[str, Any], classes: list[str]) -> dict[str, list[float]]:
    """The APs of the classes in %, by the level where the vectors are pooled, by "" where they are not."""
    train, test = (compute_features(ImageFeatures(**settings, verbose=True), data, s) for s in ("trainval", "test"))
    columns = [VOC_CLASSES.index(name) for name in classes]
    variants = LEVELS if settings["layer"] == "pooled" else {"": ()}
    found = {}
    for name, levels in variants.items():
        x, y = (part_of(of.vectors, levels) if levels else of.vectors for of in (train, test))
        svm = MultiLabelSVM().fit(x, train.labels[:, columns])
        found[name] = [100 * ap for ap in class_ap(test.labels[:, columns], svm.decision_function(y))]
    return found


def main(argv: list[str] | None) -> int:
    """Parse the arguments, measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a VOCdevkit folder")
    parser.add_argument("--out", type=Path, default=Path("runs/voc_classification"), help="what was measured")
    parser.add_argument("--trunk", default="efficientnet_lite0", help="the network (efficientnet_lite0)")
    parser.add_argument("--weights", default="default", help="its weights: default, or a file")
    parser.add_argument("--input", default="default", help="its input: default, torchvision or caffe")
    parser.add_argument("--layers", nargs="*", default=[], help="maps that are taken as they are, of a crop: conv4 ..")
    parser.add_argument("--sides", nargs="+", type=int, default=[224, 300, 392], help="px, of the whole image")
    parser.add_argument("--classes", nargs="+", default=list(VOC_CLASSES), choices=VOC_CLASSES, help="to average over")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # images are read by the others
    network = {"trunk": args.trunk, "weights": args.weights, "input": args.input}
    runs = [{"layer": layer, "view": "crop", "side": 224} for layer in args.layers]
    runs += [{"layer": "pooled", "view": "crop", "side": 224}]
    runs += [{"layer": "pooled", "view": "full", "side": side} for side in args.sides]
    table = Table(title=f"{args.trunk}, average precision in %, 11 points")
    for heading in ("layer", "seen", *args.classes, "mean"):
        table.add_column(heading)
    for run in runs:
        place = args.out / f"{args.trunk}_{run['layer']}_{run['view']}_{run['side']}.json"
        if not place.exists():
            write_json(place, measure(args.data, {**network, **run}, args.classes))
        found = read_json(place)
        if any(len(values) != len(args.classes) for values in found.values()):
            raise DataError(place, f"is of other classes: name another --out than {args.out}")
        for level, values in found.items():
            seen = f"{run['view']} {run['side']}"
            cells = [f"{value:.1f}" for value in (*values, float(np.nanmean(values)))]
            table.add_row(f"{run['layer']} {level}".strip(), seen, *cells)
    console.print(table)
    return 0


if __name__ == "__main__":
    run_tool(main)
