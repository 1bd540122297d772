"""Looking at an image for its class: one view or many, cut out of it or pooled from its maps (P4 section 3.1.5).

A view on a map costs no pass of the trunk: the image is convolved once at each scale (and once mirrored), and the cells
of each view are pooled, as those of a window in detection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spp_det.classification.config import TestingConfig, Views
from spp_det.classification.crops import CORNERS, EDGES, origins
from spp_det.classification.network import SPPClassifier
from spp_det.images import flip_image, resize, scaled_size
from spp_det.pooling import pool_windows, window_cells
from spp_det.pooling.plain import pool_maps, pool_windows_plain
from spp_det.structures import Boxes, Image, Size
from spp_det.watch import Watch

CROPS_AT_ONCE = 32  # of one image, through the trunk


@dataclass(frozen=True)
class Plan:
    """Which views of an image are taken.

    scales: short sides in px; places: of `origins` at each, 0 for none; mirrored: each view from the left too;
    full_scale: short side at which the whole image is a view, 0 for none; on_map: pooled from maps, or cut out.
    """

    scales: tuple[int, ...] = ()
    places: int = 0
    mirrored: bool = False
    full_scale: int = 0
    on_map: bool = True

    def sides(self) -> list[int]:
        """The short sides at which the image is convolved."""
        return sorted({*self.scales} | ({self.full_scale} if self.full_scale else set()))


def plan_views(views: Views, testing: TestingConfig) -> Plan:
    """The plan of a name.

    "crop": the central square; "full": the whole image; "10 crops": centre, corners, and all mirrored; "10": the same
    on the map; "96": with the middles of the edges, at six scales; "98": and the whole image, plain and mirrored.
    """
    side, scales = testing.short_side, testing.scales
    plans: dict[Views, Plan] = {
        "crop": Plan((side,), 1, on_map=False),
        "full": Plan(full_scale=side),
        "10 crops": Plan((side,), CORNERS, mirrored=True, on_map=False),
        "10": Plan((side,), CORNERS, mirrored=True),
        "96": Plan(scales, EDGES, mirrored=True),
        "98": Plan(scales, EDGES, mirrored=True, full_scale=side),
    }
    return plans[views]


def places_of(size: Size, side: int, places: int) -> np.ndarray:
    """`origins` without doubles, which an image as short as the view has: int64 [V, 2], V <= places."""
    every = origins(size, side, places)
    _, first = np.unique(every, axis=0, return_index=True)
    return every[np.sort(first)]


class ViewClassifier:
    """A classifier that looks at an image by a plan.

    network: in evaluation mode; view: px of a view's side; dtype: of the products; watch: counts the seconds of
    "trunk", "pooling" and "fc".
    """

    def __init__(
        self, network: SPPClassifier, view: int, dtype: torch.dtype = torch.float32, watch: Watch | None = None
    ) -> None:
        self.network, self.view, self.dtype, self.watch = network, view, dtype, watch or Watch()
        self.passes = 0  # of the trunk
        self.pixels = 0  # that went through it

    @torch.inference_mode()
    def probabilities(self, image: Image, plan: Plan) -> npt.NDArray[np.float32]:
        """The mean over the views of what the softmax says: float32 [K]; image: uint8 [H, W, 3] at its own size."""
        vectors = self.vectors(image, plan)
        with self.watch.stage("fc"), self._products():
            logits = self.network.head(vectors)  # [V, K]
            return logits.float().softmax(1).mean(0).cpu().numpy()

    @torch.inference_mode()
    def vectors(self, image: Image, plan: Plan) -> Tensor:
        """The pooled vector of each view: float32 [V, C * bins].

        At each scale the views in the order of `origins`, then the whole image, then all of these mirrored; those that
        are cut out come before the whole image and its mirror.
        """
        vectors: list[Tensor] = []
        for side in plan.sides():
            scaled = resize(image, scaled_size(image.shape[:2], side))
            pictures = [scaled, flip_image(scaled)] if plan.mirrored else [scaled]
            squares = self._squares(scaled, plan if side in plan.scales else Plan(places=0))
            whole = side == plan.full_scale
            if plan.on_map:
                for feature_map, boxes in zip(self._convolve(pictures), squares, strict=False):
                    vectors += self._pooled(feature_map, scaled, boxes, whole)
                continue
            crops = [_cut(picture, box) for picture, boxes in zip(pictures, squares, strict=False) for box in boxes]
            batches = [crops[start : start + CROPS_AT_ONCE] for start in range(0, len(crops), CROPS_AT_ONCE)]
            for batch in [*batches, pictures] if whole else batches:
                maps = self._convolve(batch)
                with self.watch.stage("pooling"):
                    vectors.append(pool_maps(maps, self.network.levels))
        return torch.cat(vectors)

    def _squares(self, scaled: Image, plan: Plan) -> list[Boxes]:
        """The views of an image and of its mirror, which show the same: two float32 [V, 4]."""
        height, width = scaled.shape[:2]
        y, x = places_of((height, width), self.view, plan.places).T if plan.places else np.zeros((2, 0), np.int64)
        first = [x, width - self.view - x]
        return [np.stack([left, y, left + self.view, y + self.view], 1).astype(np.float32) for left in first]

    def _convolve(self, pictures: list[Image]) -> Tensor:
        """One pass of the trunk over pictures of one size: float32 [B, C, h, w]."""
        self.passes += 1
        with self.watch.stage("trunk"), self._products():
            x = torch.stack([self.network.trunk.tensor(picture) for picture in pictures])
            self.pixels += x.shape[0] * x.shape[2] * x.shape[3]
            return self.network.trunk(x.to(self.network.device))

    def _pooled(self, feature_map: Tensor, scaled: Image, boxes: Boxes, whole: bool) -> list[Tensor]:
        """The vectors of the views on a map [C, h, w], and that of all of it."""
        trunk, levels = self.network.trunk, self.network.levels
        size = scaled.shape[0], scaled.shape[1]
        with self.watch.stage("pooling"):
            found = []
            if len(boxes):
                height, width = feature_map.shape[1:]
                cells = window_cells(boxes, size, size, (height, width), trunk.stride, trunk.offset)
                pool = pool_windows if feature_map.device.type == "cpu" else pool_windows_plain
                found.append(pool(feature_map, torch.from_numpy(cells), levels))
            if whole:
                found.append(pool_maps(feature_map[None], levels))
        return found

    def _products(self) -> torch.autocast:
        return torch.autocast(self.network.device.type, self.dtype, enabled=self.dtype != torch.float32)


def _cut(picture: Image, box: npt.NDArray[np.float32]) -> Image:
    x1, y1, x2, y2 = box.astype(np.int64).tolist()
    return picture[y1:y2, x1:x2]
