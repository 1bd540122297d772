"""The conventions of the package, and the three containers that travel through it.

image           uint8 [H, W, 3], RGB
image tensor    float32 [3, H, W], preprocessed as its trunk states
boxes           float32 [N, 4], (x1, y1, x2, y2), continuous pixels of the original image, 0 <= x1 < x2 <= W
labels          int64 [N], 0 .. K-1; background is never a label (in a softmax it is the last column)
scores          float32 [N], unbounded SVM margins; a probability is in [0, 1], and the two words are never mixed
size            (height, width)

A name in the singular is one image's, in the plural a batch's. A VOC annotation (xmin, ymin, xmax, ymax), 1-based and
inclusive, becomes (xmin - 1, ymin - 1, xmax, ymax) where it is read; IoU is then the devkit's without any "+ 1".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Boxes = npt.NDArray[np.float32]  # [N, 4]
Labels = npt.NDArray[np.int64]  # [N]
Scores = npt.NDArray[np.float32]  # [N]
Mask = npt.NDArray[np.bool_]  # [N]
Image = npt.NDArray[np.uint8]  # [H, W, 3]
Size = tuple[int, int]  # (height, width)


def empty_boxes() -> Boxes:
    """No boxes: float32 [0, 4]."""
    return np.zeros((0, 4), np.float32)


def check_boxes(boxes: npt.ArrayLike) -> Boxes:
    """The same boxes as float32 [N, 4].

    Raises ValueError where the shape is another, a coordinate is not finite or negative, or x1 >= x2 or y1 >= y2.
    """
    array = np.asarray(boxes, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes have the shape [N, 4], not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError("a box has a coordinate that is not finite")
    if array.size and array.min() < 0:
        raise ValueError(f"box {array[(array < 0).any(1)][0].tolist()} has a negative coordinate")
    empty = (array[:, 2] <= array[:, 0]) | (array[:, 3] <= array[:, 1])
    if empty.any():
        raise ValueError(f"box {array[empty][0].tolist()} is empty: x1 < x2 and y1 < y2 must hold")
    return array


def check_image(image: npt.ArrayLike) -> Image:
    """The same image, uint8 [H, W, 3]. Raises ValueError for another dtype or shape, or a side of no pixel."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"an image is uint8 [H, W, 3] in RGB, not {array.dtype} {list(array.shape)}")
    return array


@dataclass(frozen=True, eq=False)
class _Fields:
    """Arrays of one length under names; a mask, slice or index array selects from all of them."""

    boxes: Boxes

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", check_boxes(self.boxes))

    def _column(self, name: str, dtype: npt.DTypeLike) -> None:
        array = np.asarray(getattr(self, name), dtype=dtype)
        if array.shape != (len(self.boxes),):
            raise ValueError(f"{name} has the shape {list(array.shape)} where there are {len(self.boxes)} boxes")
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Mask | npt.NDArray[np.integer] | slice) -> Self:
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[index] for k, v in arrays.items() if isinstance(v, np.ndarray)})


@dataclass(frozen=True, eq=False)
class Proposals(_Fields):
    """The windows of one image that may hold an object, best first.

    boxes: float32 [N, 4].
    """


@dataclass(frozen=True, eq=False)
class Target(_Fields):
    """What is in one image.

    boxes: float32 [N, 4]; labels: int64 [N]; difficult: bool [N], objects that the evaluation leaves out.
    """

    labels: Labels
    difficult: Mask

    def __post_init__(self) -> None:
        super().__post_init__()
        self._column("labels", np.int64)
        self._column("difficult", np.bool_)
        if len(self) and self.labels.min() < 0:
            raise ValueError("a label is negative")


@dataclass(frozen=True, eq=False)
class Detections(_Fields):
    """What was found in one image, best score first within a class.

    boxes: float32 [N, 4]; scores: float32 [N], SVM margins; labels: int64 [N]; class_names: K names, labels index them.
    probabilities: float32 [N] in [0, 1], how likely each is right; None of a detector that is not calibrated.
    """

    scores: Scores
    labels: Labels
    class_names: tuple[str, ...]
    probabilities: Scores | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._column("scores", np.float32)
        self._column("labels", np.int64)
        if self.probabilities is not None:
            self._column("probabilities", np.float32)
            if len(self) and not 0 <= self.probabilities.min() <= self.probabilities.max() <= 1:
                raise ValueError("a probability lies outside 0 .. 1")
        object.__setattr__(self, "class_names", tuple(self.class_names))
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise ValueError(f"a label lies outside 0 .. {len(self.class_names) - 1}")

    @classmethod
    def empty(cls, class_names: Sequence[str]) -> Detections:
        """No detection."""
        return cls(empty_boxes(), np.zeros(0, np.float32), np.zeros(0, np.int64), tuple(class_names))

    @property
    def names(self) -> list[str]:
        """The class name of each detection."""
        return [self.class_names[label] for label in self.labels]

    def above(self, score: float) -> Detections:
        """Those with a score of at least `score`."""
        return self[self.scores >= score]

    def likely(self, probability: float) -> Detections:
        """Those with a probability of at least `probability`. Raises ValueError where there are no probabilities."""
        if self.probabilities is None:
            raise ValueError("these detections have no probabilities: their detector is not calibrated")
        return self[self.probabilities >= probability]

    def __iter__(self) -> Iterator[tuple[Boxes, float, str]]:
        """(box float32 [4], score, class name) of each."""
        for box, score, name in zip(self.boxes, self.scores, self.names, strict=True):
            yield box, float(score), name

    def to_dict(self) -> dict[str, torch.Tensor]:
        """torchvision's dict, labels from 0: boxes float32 [N, 4], labels int64 [N], scores float32 [N]."""
        import torch

        arrays: dict[str, Any] = {"boxes": self.boxes, "labels": self.labels, "scores": self.scores}
        return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def to_coco(self, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
        """COCO's annotations of image `image_id`; the category of label 0 is 1, and their ids count from `first_id`.

        Boxes are [x, y, width, height] in px, a score is an SVM margin.
        """
        from spp_det.conversions import coco_annotations

        return coco_annotations(self, image_id, first_id)

    def to_supervision(self) -> Any:
        """supervision's `Detections`, with "class_name" and "score", the SVM margin, among its data.

        `confidence` is the probability, or the margin of a detector that is not calibrated. Raises SppDetError where
        supervision is not installed.
        """
        from spp_det.conversions import to_supervision

        return to_supervision(self)

    def to_fiftyone(self, size: Size) -> Any:
        """FiftyOne's `Detections`, boxes as shares of the image's `size`; "score" beside `confidence`, as above.

        Raises SppDetError where fiftyone is not installed.
        """
        from spp_det.conversions import to_fiftyone

        return to_fiftyone(self, size)
