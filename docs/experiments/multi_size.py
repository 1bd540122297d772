"""What the pyramid and multi-size training bring, from scratch, on generated images: no SPP, single size, multi-size.

    python docs/experiments/multi_size.py --out runs/multi_size

The images are the objects of *shapes*, each cut out of its scene with some of what lies around it: of any aspect ratio,
and of any size in their image. The network is ZF-5's plan in small, the settings are the paper's in small: crops of 64
px of the whole image at a short side of 73, and 51 px for the second size. Stopped, the same command goes on.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Iterator
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
from spp_det.datasets.shapes_scene import SHAPES_CLASSES, draw_scene
from spp_det.files import read_json
from spp_det.networks import Preprocessing, Trunk
from spp_det.networks.pretrained import randomise
from spp_det.structures import Image
from spp_det.tooling import console, run_tool, track

MODES: dict[str, dict[str, Any]] = {
    "no SPP": {"levels": [6], "sizes": [64]},
    "single-size": {"levels": [1, 2, 3, 6], "sizes": [64]},
    "multi-size": {"levels": [1, 2, 3, 6], "sizes": [64, 51]},
}
VIEWS = ("crop", "full", "10", "10 crops")


def small_trunk(weights: str = "random", input: str = "default") -> Trunk:
    """Five convolutions at stride 4, padded by floor(k / 2): 16 x 16 cells of 64 px, 13 x 13 of 51."""
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


def objects(seed: int) -> Iterator[tuple[Image, int]]:
    """Objects cut out of scene after scene, with up to half of their sides around them, and the label of each."""
    for number in range(10**9):
        rng = np.random.default_rng([seed, number])
        image, target = draw_scene(rng)
        for box, label in zip(target.boxes[~target.difficult], target.labels[~target.difficult], strict=True):
            sides = np.tile(box[2:] - box[:2], 2)
            grown = box + rng.uniform(0.05, 0.5, 4) * sides * [-1, -1, 1, 1]
            x1, y1, x2, y2 = np.clip(grown, 0, [image.shape[1], image.shape[0]] * 2).astype(int)
            yield image[y1:y2, x1:x2], int(label)


def make_folders(root: Path, per_class: int, seed: int) -> None:
    """So many images of each class, in one folder a class; nothing where the folder is there."""
    if root.is_dir():
        return
    aside = root.with_name(f".{root.name}")
    left = np.full(len(SHAPES_CLASSES), per_class)
    source = objects(seed)
    for number in track(range(int(left.sum())), f"drawing {root.name}"):
        image, label = next((image, label) for image, label in source if left[label])
        left[label] -= 1
        folder = aside / SHAPES_CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(image).save(folder / f"{number:05d}.png")
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
            "batch_size": 32,
            "short_side": 73,
            "crop": 64,
            "sizes": chosen["sizes"],
            "workers": 0,
        },
        "testing": {"views": VIEWS, "short_side": 73, "view": 64, "scales": [64]},
    }
    return checked(table, ClassificationConfig, mode)


def main(argv: list[str] | None) -> int:
    """Parse the arguments, train, test, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/multi_size"), help="the folder for data and runs")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (3)")
    parser.add_argument("--epochs", type=int, default=24, help="of each training (24)")
    parser.add_argument("--images", type=int, default=150, help="to learn from, of each class (150)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # the layers are too small for more
    data = args.out / f"data_{args.images}"
    make_folders(data / "train", args.images, seed=0)
    make_folders(data / "val", 100, seed=1)
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
