"""The images of one split, each one looked at once before any stage relies on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spp_det.datasets import (
    Dataset,
    annotation_paths,
    check_id,
    image_digest,
    image_paths,
    loose_faults,
    positives_only,
    target_basis,
)
from spp_det.errors import DataError
from spp_det.parallel import available_cores, map_ordered
from spp_det.pipeline.seen import SeenImages, SeenTargets, TargetTable, file_states, unchanged
from spp_det.pipeline.store import Store, key_of
from spp_det.processes import ALONE, Processes
from spp_det.structures import Size, Target

VERSION = 2
KEEP_EVERY = 10_000  # images; reading so many takes minutes, and a stopped start goes on from there
T = TypeVar("T")


@dataclass(frozen=True)
class Split:
    """The good images of a split.

    sizes and targets: by image id, in the order of `ids`. skipped: image id -> fault, where bad images are left out.
    images_key, targets_key: hashes of what the stages read of them. check: the key of what is kept of this look.
    """

    dataset: Dataset
    ids: tuple[str, ...]
    sizes: dict[str, Size]
    targets: Mapping[str, Target]
    skipped: dict[str, str]
    images_key: str
    targets_key: str
    check: str

    def classes_without_objects(self, use_difficult: bool = False) -> list[str]:
        """The names of the classes that no object is of; difficult ones count with `use_difficult` only."""
        there = [t.labels if use_difficult else t.labels[~t.difficult] for t in self.targets.values()]
        labels = set(np.concatenate([np.zeros(0, np.int64), *there]).tolist())
        return [name for label, name in enumerate(self.dataset.class_names) if label not in labels]


def open_split(store: Store, dataset: Dataset, skip_bad: bool = False, here: Processes = ALONE) -> Split:
    """Read every image and annotation of a split that has changed since it was seen last; see seen.py.

    here: the processes that share the reading; each of them has all of it in the end.
    Raises DataError for the first that is missing or broken, unless `skip_bad`.
    """
    skipped: dict[str, str] = {}
    loose = loose_faults(dataset)
    for name, fault in loose.items():
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

    for image_id in dataset.ids:
        guarded(check_id, image_id)
    check = store.stage("check", VERSION, {}, {"ids": key_of(list(dataset.ids))})
    states = file_states(image_paths(dataset))
    images = _see_images(check.path("images.safetensors"), dataset, states, guarded, here)
    for faults in here.gather(skipped):
        skipped.update(faults)
    usable = images.sizes[:, 0] > 0
    with here.first_ahead():  # it keeps them, and the others read only those that nobody can rely on yet
        targets, usable = _see_targets(check.folder, dataset, states, usable, guarded, here.first)
    if not usable.any():
        raise DataError(next(iter(skipped.values()), "the split").split(":")[0], "no image of the split can be used")
    ids = tuple(image_id for image_id, good in zip(dataset.ids, usable.tolist(), strict=True) if good)
    positives = positives_only(dataset)
    partly = [image_id for image_id in ids if image_id in positives]
    targets = targets.chosen(usable)
    return Split(
        dataset=dataset,
        ids=ids,
        sizes=dict(zip(ids, map(tuple, images.sizes[usable].tolist()), strict=True)),
        targets=TargetTable(ids, targets),
        skipped={image_id: skipped[image_id] for image_id in (*loose, *dataset.ids) if image_id in skipped},
        images_key=key_of([list(ids), hashlib.sha256(images.digests[usable].tobytes()).hexdigest()]),
        targets_key=key_of([list(dataset.class_names), targets.digest(), *partly]),
        check=check.key,
    )


def _see_images(
    path: Path,
    dataset: Dataset,
    states: npt.NDArray[np.int64],
    guarded: Callable[[Callable[[str], Any], str], Any],
    here: Processes,
) -> SeenImages:
    """Digests and sizes of all images, of which those are read that have changed.

    path: where they are kept; states: int64 [N, 4], of the images' files. What the first process holds for changed is
    read, each image by one process, and KEEP_EVERY of them are told to all, and kept, at a time.
    """
    before = SeenImages.read(path, len(dataset.ids)) or SeenImages.none(len(dataset.ids))
    known = unchanged(states, before.states) & (before.sizes[:, 0] > 0)
    left = here.agree(lambda: np.flatnonzero(~known).tolist())
    seen = SeenImages(states.copy(), before.digests.copy(), before.sizes.copy())
    seen.states[left], seen.sizes[left] = 0, 0

    def look(row: int) -> tuple[int, str, Size] | None:
        image_id = dataset.ids[row]
        check_id(image_id)
        digest = image_digest(dataset, image_id)
        height, width = before.sizes[row].tolist()
        if bytes.fromhex(digest) != before.digests[row].tobytes() or height == 0:  # else it was copied or touched
            height, width, _ = dataset.image(image_id).shape
        return row, digest, (height, width)

    def looked_at(rows: Sequence[int]) -> Iterator[tuple[int, str, Size]]:
        own = here.deal(rows)
        for facts in map_ordered(lambda row: guarded(lambda _: look(row), dataset.ids[row]), own, available_cores()):
            step()
            if facts is not None:
                yield facts

    if not left:
        return seen
    with here.progress("reading images", len(known), len(known) - len(left)) as step:
        for start in range(0, len(left), KEEP_EVERY):
            for row, digest, size in chain(*here.gather(list(looked_at(left[start : start + KEEP_EVERY])))):
                seen.states[row], seen.sizes[row] = states[row], size
                seen.digests[row] = np.frombuffer(bytes.fromhex(digest), np.uint8)
            if here.first:
                seen.write(path)
    return seen


def _see_targets(
    folder: Path,
    dataset: Dataset,
    images: npt.NDArray[np.int64],
    usable: npt.NDArray[np.bool_],
    guarded: Callable[[Callable[[str], Any], str], Any],
    keep: bool,
) -> tuple[SeenTargets, npt.NDArray[np.bool_]]:
    """The objects of all images that can be used, and of which images both can: bool [N].

    folder: where they are kept, if `keep`, of a data set that says what they follow from; images: int64 [N, 4], the
    files' states.
    """
    basis, count = target_basis(dataset), len(dataset.ids)
    path = folder / f"targets-{key_of(basis)}.safetensors"
    before = (SeenTargets.read(path, count) if basis is not None else None) or SeenTargets.none(count)
    files = annotation_paths(dataset)
    own = images if files is None else file_states(files)  # without files they follow from the basis alone
    states = np.concatenate([images, own], axis=1)
    known = unchanged(images, before.states[:, :4]) & unchanged(own, before.states[:, 4:])
    new: dict[int, Target] = {}
    for row in np.flatnonzero(usable & ~known).tolist():
        target = guarded(dataset.target, dataset.ids[row])
        if target is not None:
            new[row] = target
    if not new:
        return before, usable & known
    good = known.copy()
    good[list(new)] = True
    seen = before.replaced(np.where(good[:, None], states, 0), new)
    if basis is not None and keep:
        seen.write(path)
    return seen, usable & good
