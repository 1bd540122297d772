"""ILSVRC DET's training images as a classification data set of 499 classes, and the crops that it is learnt from.

Section 4.5: with the provided data only, the network is pre-trained on the leaves of the provided hierarchy, 499
subcategories that do not overlap, rather than on the 200 classes. Images are resized to a short side of 400, and a
crop of 224 x 224 is used only where it overlaps an object by at least a half.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from spp_det.boxes import rescale
from spp_det.datasets.ilsvrc import ILSVRCDetection
from spp_det.errors import DataError
from spp_det.images import resize, scaled_size
from spp_det.structures import Boxes, Image, Target

SHORT_SIDE = 400  # px
CROP = 224  # px
MIN_OVERLAP = 0.5
HIERARCHY = Path("devkit/data/wordnet.is_a.txt")


class ILSVRCPretraining:
    """Images under the subcategory that they were collected for, if that is a leaf among those with images.

    The subcategory is the folder of a training image, ILSVRC2013_train/{synset}. A synset above another one with
    images is no leaf: its images are left out, since they may belong to either.

    Args:
        root: as for ILSVRCDetection.
        hierarchy: ImageNet's `wordnet.is_a.txt`, lines of parent and child WordNet ids; None: that in devkit/data.

    Attributes:
        class_names: the leaves' WordNet ids, sorted: 499 in the challenge's data.
        ids: the images' ids; labels: int64 [N], theirs.

    Raises:
        DataError: for a file that is missing or has another form, and what ILSVRCDetection raises.

    """

    def __init__(self, root: str | PathLike[str], hierarchy: str | PathLike[str] | None = None) -> None:
        self.detection = ILSVRCDetection(root, "train")
        synsets = {i: Path(i).parent.name for i in self.detection.ids if "ILSVRC2013_train" in Path(i).parts}
        path = Path(hierarchy) if hierarchy is not None else self.detection.folder / HIERARCHY
        self.class_names = leaves(set(synsets.values()), read_parents(path))
        self.ids = tuple(i for i in self.detection.ids if synsets.get(i) in self.class_names)
        self.labels = np.array([self.class_names.index(synsets[i]) for i in self.ids], np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, image_id: str) -> Image:
        """uint8 [H, W, 3], RGB, upright. Raises DataError where it cannot be read."""
        return self.detection.image(image_id)

    def target(self, image_id: str) -> Target:
        """The objects, of the 200 classes. Raises DataError as the detection data set does."""
        return self.detection.target(image_id)

    def crop(self, image_id: str, rng: np.random.Generator) -> Image | None:
        """A random crop to learn from, uint8 [224, 224, 3], see `object_crop`."""
        return object_crop(self.image(image_id), self.target(image_id).boxes, rng)


def read_parents(path: Path) -> dict[str, list[str]]:
    """The parents of each synset. Raises DataError for a file that is missing or has other lines than two words."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except FileNotFoundError:
        raise DataError(path, "there is no such file: ImageNet's hierarchy, lines of a parent and a child") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(path, f"cannot be read ({fault})") from None
    parents: dict[str, list[str]] = {}
    for words in lines:
        if len(words) != 2:
            raise DataError(path, f"has the line {' '.join(words)!r}, not a parent and a child")
        parents.setdefault(words[1], []).append(words[0])
    return parents


def leaves(synsets: set[str], parents: dict[str, list[str]]) -> tuple[str, ...]:
    """Those of some synsets that stand above no other of them, sorted."""
    above: set[str] = set()
    waiting = [parent for synset in synsets for parent in parents.get(synset, [])]
    while waiting:
        synset = waiting.pop()
        if synset not in above:
            above.add(synset)
            waiting += parents.get(synset, [])
    return tuple(sorted(synsets - above))


def object_crop(
    image: Image,
    boxes: Boxes,
    rng: np.random.Generator,
    short_side: int = SHORT_SIDE,
    crop: int = CROP,
    min_overlap: float = MIN_OVERLAP,
) -> Image | None:
    """A random crop of an image that shows an object; None where no place of the crop does.

    image: uint8 [H, W, 3]; boxes: float32 [N, 4], its objects. The image is resized to `short_side`; of all places of
    a crop of `crop` x `crop` px whose IoU with an object is at least `min_overlap`, one is drawn, each as likely.
    Returns uint8 [crop, crop, 3].
    """
    size = image.shape[0], image.shape[1]
    scaled = scaled_size(size, short_side)
    places = np.argwhere(_overlaps(rescale(boxes, size, scaled), scaled, crop) >= min_overlap)
    if not len(places):
        return None
    top, left = places[rng.integers(len(places))]
    return resize(image, scaled)[top : top + crop, left : left + crop]


def _overlaps(boxes: Boxes, size: tuple[int, int], crop: int) -> np.ndarray:
    """The best IoU of the crop at each place with a box: float64 [H - crop + 1, W - crop + 1]."""
    tops, lefts = (np.arange(side - crop + 1) for side in size)
    best = np.zeros((len(tops), len(lefts)))
    for x1, y1, x2, y2 in boxes.astype(np.float64):
        wide = np.maximum(0, np.minimum(lefts + crop, x2) - np.maximum(lefts, x1))
        high = np.maximum(0, np.minimum(tops + crop, y2) - np.maximum(tops, y1))
        shared = high[:, None] * wide[None, :]
        best = np.maximum(best, shared / (crop * crop + (x2 - x1) * (y2 - y1) - shared))
    return best
