"""Images with the boxes of one class, as the training room wants them: windows, and vectors from maps computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from spp_det.detection.detector import Detector
from spp_det.detection.first_look import FirstLook
from spp_det.detection.window_detector import read_pixels
from spp_det.regions import SPPRegions
from spp_det.structures import Boxes, Image, Target, check_boxes
from spp_det.training.source import Vectors, Windows
from spp_det.training.windows import make_windows

Progress = Callable[[int, int], None]  # (images done, of all)


class ExampleWindows:
    """A `training.source.WindowSource` of one class over images in memory.

    images: files, or uint8 [H, W, 3]; boxes: for each the objects of the class, float32 [n, 4], possibly none.
    The proposals, the maps and the vectors of all windows at `layer` are computed once, here: for a megapixel and 2,000
    windows of 1,024 numbers 10 MB an image.
    """

    def __init__(
        self,
        detector: Detector,
        images: Sequence[str | PathLike[str] | Image],
        boxes: Sequence[npt.ArrayLike],
        progress: Progress = lambda done, total: None,
    ) -> None:
        if len(images) != len(boxes):
            raise ValueError(f"there are {len(images)} images and boxes for {len(boxes)}")
        self.regions, self.layer = detector.regions, detector.layer
        self._features: list[Any] = []
        self._windows: list[Windows] = []
        self._vectors: list[Vectors] = []
        for done, (image, objects) in enumerate(zip(images, boxes, strict=True), 1):
            pixels, image_id = read_pixels(image)
            target = _target(objects, pixels, done - 1)
            windows = make_windows(target, detector.proposals.propose(pixels, image_id), num_classes=1)
            features = self.regions.image_features(pixels)
            self._windows.append(windows)
            self._features.append(features)
            self._vectors.append(self.regions.window_features(features, windows.boxes, self.layer))
            progress(done, len(images))

    def __len__(self) -> int:
        return len(self._windows)

    def windows(self, index: int) -> Windows:
        """The windows of image `index`."""
        return self._windows[index]

    def features(self, index: int, boxes: Boxes, layer: str) -> Vectors:
        """The vectors of boxes at a layer: float32 [n, dim(layer)]. The first windows, and all, are known already."""
        known = self._windows[index].boxes[: len(boxes)]
        if layer == self.layer and np.array_equal(known, boxes):
            return self._vectors[index][: len(boxes)]
        return self.regions.window_features(self._features[index], boxes, layer)

    def cell_ids(self, index: int, boxes: Boxes) -> npt.NDArray[np.int64]:
        """Equal numbers for boxes of one vector: int64 [n]."""
        return self.regions.distinct(self._features[index], boxes)[1]

    def dim(self, layer: str) -> int:
        """The length of a vector at `layer`."""
        return self.regions.dim(layer)

    def coarse(self, regions: SPPRegions, look: FirstLook) -> Vectors:
        """The vectors of all windows, truths aside, as a first look sees them: float32 [N, D]."""
        pairs = zip(self._features, self._windows, strict=True)
        return np.concatenate([look.coarse(regions, maps, of.boxes[~of.is_truth]) for maps, of in pairs])

    def vectors(self) -> Vectors:
        """The vectors of the same windows at the SVMs' layer: float32 [N, D]."""
        pairs = zip(self._vectors, self._windows, strict=True)
        return np.concatenate([vectors[~of.is_truth] for vectors, of in pairs])


def _target(boxes: npt.ArrayLike, image: Image, number: int) -> Target:
    """The objects of an image. Raises ValueError for boxes that are empty or lie outside it."""
    array = np.asarray(boxes, np.float32)
    array = check_boxes(array.reshape(0, 4) if array.size == 0 else array)
    height, width = image.shape[:2]
    if len(array) and (array[:, 2].max() > width or array[:, 3].max() > height):
        raise ValueError(f"a box of image {number} lies outside its {width} x {height} pixels")
    return Target(array, np.zeros(len(array), np.int64), np.zeros(len(array), bool))
