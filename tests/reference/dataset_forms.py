"""One data set written in COCO's and YOLO's forms, plainly, so that reading them can be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path


def write_coco(dataset, root: Path, split: str, crowds=()) -> Path:
    """root/SPLIT/*.jpg and root/annotations/instances_SPLIT.json; returns the latter.

    crowds: (image id, number of the object in it) of objects to be marked iscrowd. Numbers of images, categories and
    annotations begin where nobody would expect them.
    """
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, image_id in enumerate(dataset.ids):
        name = f"{image_id}.jpg"
        shutil.copy(dataset.image_path(image_id), folder / name)
        height, width = dataset.size(image_id)
        images.append({"id": 700 + 3 * number, "file_name": name, "height": height, "width": width})
        target = dataset.target(image_id)
        for place, (box, label) in enumerate(zip(target.boxes.tolist(), target.labels.tolist(), strict=True)):
            x1, y1, x2, y2 = box
            entry = {
                "id": 5000 + len(annotations),
                "image_id": 700 + 3 * number,
                "category_id": 10 * label + 7,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1) * 0.7,
                "iscrowd": int((image_id, place) in crowds),
            }
            annotations.append(entry)
    categories = [{"id": 10 * label + 7, "name": name} for label, name in enumerate(dataset.class_names)]
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_yolo(dataset, root: Path, split: str) -> None:
    """root/images/SPLIT/*.jpg and root/labels/SPLIT/*.txt, without data.yaml."""
    images, labels = root / "images" / split, root / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for image_id in dataset.ids:
        shutil.copy(dataset.image_path(image_id), images / f"{image_id}.jpg")
        height, width = dataset.size(image_id)
        target = dataset.target(image_id)
        lines = []
        for (x1, y1, x2, y2), label in zip(target.boxes.tolist(), target.labels.tolist(), strict=True):
            numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append(" ".join([str(label), *(f"{value:.8f}" for value in numbers)]))
        if lines:
            (labels / f"{image_id}.txt").write_text("\n".join(lines) + "\n")
