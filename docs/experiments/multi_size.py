"""What the pyramid and multi-size training bring, from scratch: no SPP, single size, multi-size.

    python docs/experiments/multi_size.py --data data/VOCdevkit --out runs/multi_size

The images are objects cut out of VOC's photographs, at their own aspect ratio, of all sizes and anywhere in what is cut
out. The network is ZF-5's plan in small with batch normalisation, the settings are the paper's in small: crops of 48 px
of the whole image at a short side of 55, and 39 px for the second size. Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn
from voc_objects import cut_objects

from spp_det.classification import evaluate_classifier, train_classifier
from spp_det.classification.config import ClassificationConfig
from spp_det.config import checked
from spp_det.files import read_json, write_json
from spp_det.networks import Preprocessing, Trunk
from spp_det.networks.pretrained import randomise
from spp_det.tooling import console, run_tool

MODES: dict[str, dict[str, Any]] = {
    "no SPP": {"levels": [6], "sizes": [48]},
    "single-size": {"levels": [1, 2, 3, 6], "sizes": [48]},
    "multi-size": {"levels": [1, 2, 3, 6], "sizes": [39, 48]},  # ends at 48, the size of batch normalisation's means
}
# What is looked at, and the short side in px at which it is.
VIEWS = {"crop": ("crop", 55), "full 40": ("full", 40), "full 55": ("full", 55), "full 72": ("full", 72)}
CLASSES = ("bus", "car", "cat", "cow", "dog", "horse", "person", "sheep", "train")
LEAST = 32  # px of the shorter side of an object's box
AROUND = (1.0, 2.5)  # what is cut out, in sides of the box, which lies anywhere in it
MOST = 250  # images of a class to learn from
STORED = 72  # px of an image's short side on the disk, as BMP, which is read fastest
SHORT = 55  # px of it in training


def small_trunk(weights: str = "random", input: str = "default") -> Trunk:
    """Five convolutions at stride 4, padded by floor(k / 2): 12 x 12 cells of 48 px, 10 x 10 of 39."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate([(3, 24), (24, 48), (48, 48), (48, 48), (48, 48)], 1):
        kernel, stride = (5, 2) if number == 1 else (3, 1)
        layers[f"conv{number}"] = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        layers[f"norm{number}"] = nn.BatchNorm2d(after)
        layers[f"relu{number}"] = nn.ReLU()
        if number == 1:
            layers["pool1"] = nn.MaxPool2d(3, stride=2, padding=1)
    means = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    body = randomise(nn.Sequential(layers))
    return Trunk(body, name="small", out_channels=48, stride=4, offset=0.0, preprocessing=means)


def settings(data: Path, mode: str, seed: int, epochs: int) -> ClassificationConfig:
    """The configuration of one training."""
    chosen = MODES[mode]
    table = {
        "data": {"root": str(data), "val": ""},
        "seed": seed,
        "trunk": {"name": "multi_size:small_trunk", "weights": "random"},
        "classifier": {"levels": chosen["levels"], "hidden": [256, 256], "dropout": 0.0},
        "training": {
            "epochs": epochs,
            "batch_size": 64,
            "rate": 0.05,
            "drop_after": [epochs * 2 // 3, epochs * 7 // 8],
            "short_side": SHORT,
            "crop": 48,
            "sizes": chosen["sizes"],
            "workers": 0,
        },
        "testing": {"short_side": SHORT, "view": 48, "scales": [48]},
    }
    return checked(table, ClassificationConfig, mode)


def errors_of(run: Path, config: ClassificationConfig) -> dict[str, float]:
    """Train, test, and return the top-1 errors in % by view, and the processor's seconds, 0 where all was there."""
    begin, place = time.process_time(), run / "by_view.json"
    if not place.exists():
        train_classifier(config, run)
        write_json(place, {name: top1(run, *look) for name, look in VIEWS.items()})
    return read_json(place) | {"seconds": time.process_time() - begin}


def top1(run: Path, views: str, side: int) -> float:
    """The top-1 error in % on the test images by views at a short side in px."""
    changes = [f'testing.views=["{views}"]', f"testing.short_side={side}", f"testing.view={min(side, 48)}"]
    return 100 * evaluate_classifier(run, split="test", overrides=changes)["views"][views]["top1"]


def main(argv: list[str] | None) -> int:
    """Parse the arguments, train, test, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a VOCdevkit folder with VOC2007 and VOC2012")
    parser.add_argument("--out", type=Path, default=Path("runs/multi_size"), help="the folder for images and runs")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="a training of each kind by each (0 1 2)"
    )
    parser.add_argument("--epochs", type=int, default=100, help="of each training (100)")
    parser.add_argument("--test", default="2012/val", help="the images to test on (2012/val)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # the layers are too small for more
    os.environ.setdefault("SPP_DET_TRUST", "multi_size")  # a run's trunk is this file's
    for folder, split, most in (("train", "2007/trainval+2012/train", MOST), ("test", args.test, None)):
        cut_objects(
            args.data,
            split,
            args.out / folder,
            CLASSES,
            short=STORED,
            least=LEAST,
            around=AROUND,
            most=most,
            suffix=".bmp",
        )
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    for seed in args.seeds:
        for mode in MODES:
            run = args.out / f"{mode.replace(' ', '_')}_{seed}"
            found[mode].append(errors_of(run, settings(args.out, mode, seed, args.epochs)))
    table = Table(title=f"top-1 error in %, mean and deviation of {len(args.seeds)} trainings")
    for heading in ("", *VIEWS):
        table.add_column(heading)
    for mode, errors in found.items():
        values = np.array([[each[name] for name in VIEWS] for each in errors])
        deviations = values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(VIEWS))
        table.add_row(mode, *[f"{m:.1f} ± {d:.1f}" for m, d in zip(values.mean(0), deviations, strict=True)])
    console.print(table)
    seconds = sum(each["seconds"] for errors in found.values() for each in errors)
    console.print(f"{seconds / 60:.1f} minutes of one processor core")
    return 0


if __name__ == "__main__":
    run_tool(main)
