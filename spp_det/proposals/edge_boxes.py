"""EdgeBoxes (Zitnick and Dollar: "Edge Boxes: Locating Object Proposals from Edges", ECCV 2014).

A window is good where many contours lie wholly inside it. The edges come from a structured forest (Dollar and Zitnick,
ICCV 2013), which is a file of its own. Both are OpenCV's, in opencv-contrib-python.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spp_det.boxes import clip
from spp_det.errors import ConfigError
from spp_det.structures import Image, Proposals, check_image, empty_boxes

MODEL = "github.com/opencv/opencv_extra: testdata/cv/ximgproc/model.yml.gz"
MODEL_PARTS = ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")
SMALLEST = 20  # pixels; OpenCV's edges fail on images with a side under 15


class EdgeBoxes:
    """EdgeBoxes with its settings, as a part for a configuration.

    Args:
        model: the structured forest, OpenCV's `model.yml.gz`.
        max_windows: at most so many of an image; the paper's experiments take 2,000.
        min_side: smaller windows, in pixels of width or height, are dropped. OpenCV's own have 1,000 square pixels or
            more.
        alpha: IoU of neighbouring windows while searching, in (0, 1).
        beta: IoU above which of two windows the worse is dropped, in (0, 1). The defaults of both are the paper's, for
            objects to be covered with an IoU of 0.7.

    Raises:
        ConfigError: for a setting out of its range, an OpenCV without EdgeBoxes, or a model that is missing or none.

    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        max_windows: int | None = 2000,
        min_side: int = 20,
        alpha: float = 0.65,
        beta: float = 0.75,
    ) -> None:
        if not (0 < alpha < 1 and 0 < beta < 1):
            raise ConfigError(f"EdgeBoxes: alpha and beta lie between 0 and 1, not {alpha} and {beta}")
        if min_side < 1 or (max_windows is not None and max_windows < 1):
            raise ConfigError(f"EdgeBoxes: min_side and max_windows are at least 1, not {min_side} and {max_windows}")
        self.model = model
        self.max_windows = max_windows
        self.min_side = min_side
        self.alpha = alpha
        self.beta = beta
        self._ximgproc = _ximgproc()
        self._forest = _read_forest(self._ximgproc, model)

    def propose(self, image: Image, image_id: str) -> Proposals:
        """The windows of one image, uint8 [H, W, 3] RGB, best score first; its id does not matter.

        An image with a side under 20 pixels has none. Raises ValueError for another dtype or shape.
        """
        image = check_image(image)
        height, width = image.shape[:2]
        if min(height, width) < SMALLEST:
            return Proposals(empty_boxes())
        edges = self._forest.detectEdges(image.astype(np.float32) / 255)
        orientation = self._forest.computeOrientation(edges)
        thin = self._forest.edgesNms(edges, orientation)
        # One search for each image: it keeps the image's state, and images are searched by several threads at once.
        search = self._ximgproc.createEdgeBoxes(alpha=self.alpha, beta=self.beta)
        found, _ = search.getBoundingBoxes(thin, orientation)
        boxes = np.array(found, np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = clip(boxes, (height, width))
        large = (boxes[:, 2:] - boxes[:, :2] >= self.min_side).all(axis=1)
        return Proposals(boxes[large][: self.max_windows])


def _ximgproc() -> Any:
    """OpenCV's module of extended image processing."""
    module = getattr(cv2, "ximgproc", None)
    if module is None:
        raise ConfigError(
            "EdgeBoxes: this OpenCV does not have it: install opencv-contrib-python in place of opencv-python"
        )
    return module


def _read_forest(ximgproc: Any, model: str | PathLike[str] | None) -> Any:
    """The structured forest in a file."""
    if model is None:
        raise ConfigError(f"EdgeBoxes: needs a structured forest: model = the path of model.yml.gz, from {MODEL}")
    path = Path(model)
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such structured forest; OpenCV's is {MODEL}")
    if not _is_forest(path):
        raise ConfigError(f"{path}: is no structured forest that OpenCV reads; OpenCV's is {MODEL}")
    return ximgproc.createStructuredEdgeDetection(str(path))


def _is_forest(path: Path) -> bool:
    """Whether the file has the parts of a forest: without them OpenCV divides by zero and ends the process."""
    try:
        content = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    except (cv2.error, SystemError):
        return False
    trees = content.getNode("options").getNode("numberOfTrees") if content.isOpened() else None
    if trees is None or trees.empty() or trees.real() < 1:
        return False
    return all(content.getNode(name).size() > 0 for name in MODEL_PARTS)
