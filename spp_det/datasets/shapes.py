"""*shapes*: a generated data set in VOC's layout, for trying and testing a detector without a download.

Seven classes of textured objects lie over cluttered grounds. Colour and texture say nothing of the class. `disc`,
`ring` and `star` differ in outline; `pin` and `club`, and `pair` and `stack`, only in where their parts lie, so that a
window that is mapped wrongly, or pooled without regard to place, costs them first. The parts of `pair` and `stack` lie
apart: proposals fit them less well, and box regression has something to mend.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from spp_det.datasets.base import Progress
from spp_det.datasets.shapes_scene import SHAPES_CLASSES, draw_scene
from spp_det.datasets.voc import VOCDataset
from spp_det.datasets.voc_annotations import annotation_xml
from spp_det.errors import DataError
from spp_det.files import read_json, write_json
from spp_det.places import as_path, is_remote
from spp_det.structures import Image

VERSION = 1  # raised with every change to the pictures, so that an old folder is not taken for a new one
SETTINGS = "shapes.json"


class ShapesDataset(VOCDataset):
    """The images of one split of *shapes*, which is made in `root` first where that is absent or empty.

    Args:
        root: the folder that holds, or will hold, VOC2007 and shapes.json.
        split: trainval, train, val or test.
        train: how many images trainval has.
        test: how many images test has.
        seed: what the pictures follow from.

    Raises:
        DataError: for a root that holds something else, or shapes of another seed or number.

    """

    def __init__(
        self, root: str | PathLike[str], split: str = "trainval", train: int = 120, test: int = 60, seed: int = 0
    ) -> None:
        make_shapes(root, train, test, seed)
        super().__init__(root, "2007", split, SHAPES_CLASSES)


def make_shapes(
    root: str | PathLike[str],
    train: int = 120,
    test: int = 60,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Generate *shapes* into `root`, whole or not at all; nothing is done where the same is there already.

    `train` images make up trainval (the last quarter of them is val, the rest train), `test` images test. An image
    follows from the seed, its split and its number alone: more images leave the first ones as they were. The same
    arguments give the same bytes.

    Raises DataError for a root that holds something else, or shapes of another seed or number.
    """
    if train < 1 or test < 1 or seed < 0:
        raise ValueError(f"shapes need images to train and to test, and a seed from 0, not {train}, {test} and {seed}")
    root = as_path(root)
    settings = {"data": "shapes", "version": VERSION, "train": train, "test": test, "seed": seed}
    if _is_made(root, settings):
        return
    if is_remote(root):
        raise DataError(root, "holds no shapes, and they are generated on a disk only")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}.", dir=root.parent) as aside:
        made = Path(aside) / "shapes"
        _write(made, train, test, seed, progress)
        write_json(made / SETTINGS, settings)
        try:
            made.rename(root)
        except OSError:  # another process was faster, or else `_is_made` says what is there
            if not _is_made(root, settings):
                raise


def _is_made(root: Path, settings: dict[str, object]) -> bool:
    """Whether these very shapes are in the folder. DataError where something else is."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise DataError(root, "is a file; shapes need a folder")
    if not any(root.iterdir()):
        return False
    if not (root / SETTINGS).is_file():
        raise DataError(root, f"holds other things than generated shapes (no {SETTINGS}); name another folder")
    found = read_json(root / SETTINGS)
    if found != settings:
        raise DataError(root / SETTINGS, f"tells of other shapes, {found}, not {settings}; name another folder")
    return True


def _write(root: Path, train: int, test: int, seed: int, progress: Progress | None) -> None:
    folder = root / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    trainval = [f"train_{number:05d}" for number in range(train)]
    tests = [f"test_{number:05d}" for number in range(test)]
    first_val = train - train // 4
    splits = {"train": trainval[:first_val], "val": trainval[first_val:], "trainval": trainval, "test": tests}
    for split, ids in splits.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_bytes("".join(f"{i}\n" for i in ids).encode())
    for image_id in (progress or _silently)([*trainval, *tests], "drawing shapes"):
        kind, number = image_id.split("_")
        image, target = draw_scene(np.random.default_rng([seed, int(kind == "test"), int(number)]))
        name = f"{image_id}.jpg"
        (folder / "JPEGImages" / name).write_bytes(_jpeg(image))
        xml = annotation_xml(name, image.shape[:2], target, SHAPES_CLASSES)
        (folder / "Annotations" / f"{image_id}.xml").write_bytes(xml)


def _silently(ids: Sequence[str], _: str) -> Sequence[str]:
    return ids


def _jpeg(image: Image) -> bytes:
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "JPEG", quality=90)
    return stream.getvalue()
