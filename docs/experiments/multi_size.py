"""What the pyramid and multi-size training bring, from scratch, on generated images: no SPP, single size, multi-size.

    python docs/experiments/multi_size.py --out runs/multi_size

The images show one of twelve silhouettes each, of any aspect ratio and size in an image of any aspect ratio. The
network is ZF-5's plan in small, the settings are the paper's in small: crops of 48 px of the whole image at a short
side of 55, and 39 px for the second size. Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from rich.table import Table
from torch import nn

from spp_det.classification import evaluate_classifier, train_classifier
from spp_det.classification.config import ClassificationConfig
from spp_det.config import checked
from spp_det.datasets.shapes_drawing import DISTRACTORS, SHAPES, cover, far_colour, paint, place, smooth_noise
from spp_det.files import read_json
from spp_det.networks import Preprocessing, Trunk
from spp_det.networks.pretrained import randomise
from spp_det.structures import Image
from spp_det.tooling import console, run_tool, track

SILHOUETTES = {**SHAPES, **DISTRACTORS}
MODES: dict[str, dict[str, Any]] = {
    "no SPP": {"levels": [6], "sizes": [48]},
    "single-size": {"levels": [1, 2, 3, 6], "sizes": [48]},
    "multi-size": {"levels": [1, 2, 3, 6], "sizes": [48, 39]},
}
VIEWS = ("crop", "full", "10", "10 crops")


def small_trunk(weights: str = "random", input: str = "default") -> Trunk:
    """Five convolutions at stride 4, padded by floor(k / 2): 12 x 12 cells of 48 px, 10 x 10 of 39."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 24, 5, stride=2, padding=2),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(3, stride=2, padding=1),
    )
    for number, (before, after) in enumerate([(24, 48), (48, 48), (48, 48), (48, 48)], 2):
        layers[f"conv{number}"] = nn.Conv2d(before, after, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
    means = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    body = randomise(nn.Sequential(layers))
    return Trunk(body, name="small", out_channels=48, stride=4, offset=0.0, preprocessing=means)


def draw(rng: np.random.Generator, name: str) -> Image:
    """A picture of one silhouette, its colour and its ground of no meaning."""
    short, aspect = rng.uniform(40, 90), np.exp(rng.uniform(-0.5, 0.5))  # width / height of 0.6 .. 1.65
    size = (int(short * max(1, 1 / aspect)), int(short * max(1, aspect)))
    longer, shape = short * rng.uniform(0.45, 0.95), np.exp(rng.uniform(-0.7, 0.7))
    sides = (longer * min(1, shape), longer * min(1, 1 / shape))
    centre = tuple(rng.uniform(longer / 2, max(side - longer / 2, longer / 2 + 1)) for side in reversed(size))
    canvas = np.empty((*size, 3), np.float32)
    canvas[:] = ground = rng.uniform(40, 210, 3)
    canvas += 15 * np.stack([smooth_noise(rng, size, 16.0) for _ in range(3)], axis=2)
    colour, angle = far_colour(rng, [ground], 110), float(np.clip(rng.normal(0, 0.12), -0.3, 0.3))
    for part in SILHOUETTES[name]:
        paint(canvas, cover([place(contour, centre, sides, angle) for contour in part.contours], size), colour)
    return np.clip(canvas + rng.normal(0, 6, canvas.shape), 0, 255).astype(np.uint8)


def make_folders(root: Path, per_class: int, seed: int) -> None:
    """So many images of each class, in one folder a class; nothing where the folder is there."""
    if root.is_dir():
        return
    aside = root.with_name(f".{root.name}")
    for label, name in enumerate(track(list(SILHOUETTES), f"drawing {root.name}")):
        (aside / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            image = draw(np.random.default_rng([seed, label, number]), name)
            PillowImage.fromarray(image).save(aside / name / f"{number:05d}.png")
    aside.rename(root)


def settings(data: Path, mode: str, seed: int, epochs: int) -> ClassificationConfig:
    """The configuration of one training."""
    chosen = MODES[mode]
    table = {
        "data": {"root": str(data)},
        "seed": seed,
        "precision": "float32",
        "trunk": {"name": "multi_size:small_trunk", "weights": "random"},
        "classifier": {"levels": chosen["levels"], "hidden": [256, 256]},
        "training": {
            "epochs": epochs,
            "batch_size": 16,
            "short_side": 55,
            "crop": 48,
            "sizes": chosen["sizes"],
            "workers": 0,
        },
        "testing": {"views": VIEWS, "short_side": 55, "view": 48, "scales": [48]},
    }
    return checked(table, ClassificationConfig, mode)


def main(argv: list[str] | None) -> int:
    """Parse the arguments, train, test, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/multi_size"), help="the folder for data and runs")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (3)")
    parser.add_argument("--epochs", type=int, default=80, help="of each training (80)")
    parser.add_argument("--images", type=int, default=100, help="to learn from, of each class (100)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # the layers are too small for more
    data = args.out / f"data_{args.images}"
    make_folders(data / "train", args.images, seed=0)
    make_folders(data / "val", 40, seed=1)
    errors: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
    for seed in range(args.seeds):
        for mode in MODES:
            run = args.out / f"{mode.replace(' ', '_')}_{seed}"
            if not (run / "errors.json").exists():
                train_classifier(settings(data, mode, seed, args.epochs), run)
                evaluate_classifier(run)
            views = read_json(run / "errors.json")["views"]
            errors[mode].append([views[name]["top1"] for name in VIEWS])
    table = Table(title=f"top-1 error in %, mean and deviation of {args.seeds} trainings")
    for heading in ("", *VIEWS):
        table.add_column(heading)
    for mode, found in errors.items():
        values = 100 * np.array(found)
        deviations = values.std(0, ddof=1) if args.seeds > 1 else np.zeros(len(VIEWS))
        table.add_row(mode, *[f"{m:.1f} ± {d:.1f}" for m, d in zip(values.mean(0), deviations, strict=True)])
    console.print(table)
    return 0


if __name__ == "__main__":
    run_tool(main)
