"""Class folders of objects cut out of VOC's photographs, for training a classifier from scratch on a small real set.

    python docs/experiments/voc_objects.py --data data/VOCdevkit --split 2007/trainval --out data/objects/train

Each object is its box in a window that is larger by a factor of its own and in which it lies anywhere, cut at the
image's border. So the images have the objects' own aspect ratios, and the objects all sizes. Difficult and small ones
are left out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from spp_det.datasets import VOC_CLASSES, VOCDataset
from spp_det.images import resize, scaled_size
from spp_det.tooling import run_tool, track


def cut_objects(
    devkit: Path,
    split: str,
    folder: Path,
    classes: Sequence[str],
    *,
    short: int,
    least: int,
    around: tuple[float, float],
    most: int | None = None,
    suffix: str = ".jpg",
) -> None:
    """The objects of a split as images in one folder a class; nothing where the folder is there.

    short: px of an image's short side; least: px of the shorter side of an object's box; around: the least and the
    greatest side of what is cut out, in sides of the box; most: images of a class, the first ones.
    """
    if folder.is_dir():
        return
    dataset, aside = VOCDataset(devkit, split=split), folder.with_name(f".{folder.name}")
    for name in classes:
        (aside / name).mkdir(parents=True, exist_ok=True)
    count: Counter[str] = Counter()
    for number, image_id in enumerate(track(dataset.ids, f"cutting out {split}")):
        target, image = dataset.target(image_id), dataset.image(image_id)
        for index, (box, label) in enumerate(zip(target.boxes, target.labels, strict=True)):
            name, sides = dataset.class_names[label], box[2:] - box[:2]
            if name not in classes or target.difficult[index] or sides.min() < least or count[name] == most:
                continue
            rng = np.random.default_rng([number, index])
            more = sides * (rng.uniform(*around) - 1)
            before = more * rng.random(2)
            x1, y1 = np.maximum(box[:2] - before, 0).astype(int)
            x2, y2 = (box[2:] + more - before).astype(int)
            cut = np.ascontiguousarray(image[y1:y2, x1:x2])
            small = resize(cut, scaled_size(cut.shape[:2], short))
            PillowImage.fromarray(small).save(aside / name / f"{image_id}_{index}{suffix}", quality=95)
            count[name] += 1
    aside.rename(folder)


def main(argv: list[str] | None) -> int:
    """Parse the arguments, and cut."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a VOCdevkit folder")
    parser.add_argument("--split", required=True, help="e.g. 2007/trainval+2012/train")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the class folders")
    parser.add_argument("--classes", nargs="+", default=list(VOC_CLASSES), choices=VOC_CLASSES, help="(all)")
    parser.add_argument("--short", type=int, default=256, help="px of an image's short side (256)")
    parser.add_argument("--least", type=int, default=64, help="px of the shorter side of an object's box (64)")
    parser.add_argument("--around", nargs=2, type=float, default=[1.0, 1.5], help="sides, in the box's (1.0 1.5)")
    parser.add_argument("--most", type=int, help="images of a class (all)")
    args = parser.parse_args(argv)
    around = (args.around[0], args.around[1])
    cut_objects(
        args.data,
        args.split,
        args.out,
        args.classes,
        short=args.short,
        least=args.least,
        around=around,
        most=args.most,
    )
    return 0


if __name__ == "__main__":
    run_tool(main)
