"""The images of one split, each one looked at once before any stage relies on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

import numpy as np

from spp_det.datasets import Dataset, image_digest, loose_faults, positives_only
from spp_det.errors import DataError
from spp_det.files import read_json, write_json
from spp_det.parallel import available_cores, map_ordered
from spp_det.pipeline.store import Store, key_of
from spp_det.structures import Size, Target
from spp_det.tooling import track

VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """The good images of a split.

    sizes and targets: by image id, in the order of `ids`. skipped: image id -> fault, where bad images are left out.
    images_key, targets_key: hashes of what the stages read of them.
    """

    dataset: Dataset
    ids: tuple[str, ...]
    sizes: dict[str, Size]
    targets: dict[str, Target]
    skipped: dict[str, str]
    images_key: str
    targets_key: str

    def classes_without_objects(self, use_difficult: bool = False) -> list[str]:
        """The names of the classes that no object is of; difficult ones count with `use_difficult` only."""
        there = [t.labels if use_difficult else t.labels[~t.difficult] for t in self.targets.values()]
        labels = set(np.concatenate([np.zeros(0, np.int64), *there]).tolist())
        return [name for label, name in enumerate(self.dataset.class_names) if label not in labels]


def open_split(store: Store, dataset: Dataset, skip_bad: bool = False) -> Split:
    """Read every image and annotation of a split once; what is found is kept, so that the next start is quick.

    Raises DataError for the first that is missing or broken, unless `skip_bad`.
    """
    skipped: dict[str, str] = {}
    for name, fault in loose_faults(dataset).items():
        if not skip_bad:
            raise fault
        skipped[name] = str(fault)

    def guarded(read: Callable[[str], T], image_id: str) -> T | None:
        try:
            return read(image_id)
        except DataError as fault:
            if not skip_bad:
                raise
            skipped[image_id] = str(fault)
            return None

    def digest(image_id: str) -> str:
        name = PurePosixPath(image_id)  # of files in the store, too
        if name.is_absolute() or ".." in name.parts or "\0" in image_id or not name.name:
            raise DataError(image_id, "as an image's id leads out of its folder")
        return image_digest(dataset, image_id)

    digests = {image_id: guarded(digest, image_id) for image_id in dataset.ids}
    sizes = _sizes(store, dataset, {i: d for i, d in digests.items() if d is not None}, guarded)
    targets = {image_id: guarded(dataset.target, image_id) for image_id in sizes}
    good = {image_id: target for image_id, target in targets.items() if target is not None}
    if not good:
        raise DataError(next(iter(skipped.values()), "the split").split(":")[0], "no image of the split can be used")
    partly = [image_id for image_id in good if image_id in positives_only(dataset)]
    return Split(
        dataset=dataset,
        ids=tuple(good),
        sizes={image_id: sizes[image_id] for image_id in good},
        targets=good,
        skipped=skipped,
        images_key=key_of([[image_id, digests[image_id]] for image_id in good]),
        targets_key=key_of([list(dataset.class_names), [_target_digest(target) for target in good.values()], *partly]),
    )


def _target_digest(target: Target) -> str:
    parts = (target.boxes, target.labels, target.difficult)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def _sizes(
    store: Store,
    dataset: Dataset,
    digests: dict[str, str],
    guarded: Callable[[Callable[[str], Size], str], Size | None],
) -> dict[str, Size]:
    stage = store.stage("check", VERSION, {}, {"images": key_of(list(digests.items()))})
    if stage.done:
        return {image_id: (height, width) for image_id, (height, width) in read_json(stage.path("sizes.json")).items()}

    def size(image_id: str) -> Size:
        height, width, _ = dataset.image(image_id).shape
        return height, width

    found = map_ordered(lambda i: guarded(size, i), digests, available_cores())
    read = dict(zip(digests, track(found, "reading images", len(digests)), strict=True))
    sizes = {image_id: found_size for image_id, found_size in read.items() if found_size is not None}
    if len(sizes) == len(digests):  # a bad image may be mended in place: then its digest, and the key, change
        write_json(stage.path("sizes.json"), sizes)
        stage.finish()
    return sizes
