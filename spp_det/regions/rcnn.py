"""R-CNN's region extractor: every window is cropped, warped and sent through the whole trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spp_det.images import resize
from spp_det.pooling import PAPER_LEVELS, pool_windows, vector_length
from spp_det.regions.crops import crop_geometry
from spp_det.regions.spp import Vectors, blocks, cells_within
from spp_det.structures import Boxes, Image
from spp_det.watch import Watch

if TYPE_CHECKING:
    from torch import Tensor

    from spp_det.networks import FcHead, Trunk

Warped = npt.NDArray[Any]  # [N] of RCNNRegions.warped_type


class RCNNRegions:
    """An image and boxes to one vector per box, by one pass of the trunk for each box.

    The map of a crop is pooled by the same pyramid, so that the vector fits the head of SPP-net.

    trunk, head, levels: as for SPPRegions. crop_size: px, the sides of a crop; context: px of the crop around the
    window on each side; batch_size: crops that go through the trunk at a time.

    The steps are public: `crops`, `maps`, `pool`, then `head.numpy`.
    """

    def __init__(
        self,
        trunk: Trunk,
        head: FcHead,
        levels: Sequence[int] = PAPER_LEVELS,
        crop_size: int = 227,
        context: int = 16,
        batch_size: int = 32,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"a batch has at least one crop, not {batch_size}")
        self.trunk = trunk
        self.head = head
        self.levels = tuple(levels)
        self.crop_size = crop_size
        self.context = context
        self.batch_size = batch_size

    def dim(self, layer: str) -> int:
        """The length of a layer's vector: "pool5", "fc6", "fc7" or "logits"."""
        return vector_length(self.trunk.out_channels, self.levels) if layer == "pool5" else self.head.dim(layer)

    def image_features(self, image: Image) -> Image:
        """The image itself: nothing of it can be computed before the windows are known."""
        return image

    def live_features(self, image: Image) -> Image:
        """The image itself, likewise."""
        return image

    def crops(self, image: Image, boxes: Boxes) -> npt.NDArray[np.float32]:
        """The warped crops of windows, float32 [N, S, S, 3]: preprocessed, zero (the mean) off the image.

        image: uint8 [H, W, 3]; boxes: float32 [N, 4]. S is crop_size, padded as the trunk asks.
        """
        return self.inputs(self.warp(image, boxes))

    def warp(self, image: Image, boxes: Boxes) -> Warped:
        """The warped crops of windows, before the preprocessing: [N] of `warped_type`.

        image: uint8 [H, W, 3]; boxes: float32 [N, 4].
        """
        sources, places = crop_geometry(boxes, (image.shape[0], image.shape[1]), self.crop_size, self.context)
        warped = np.zeros(len(boxes), self.warped_type)
        warped["place"] = places
        for pixels, (x1, y1, x2, y2), (left, top, right, bottom) in zip(
            warped["pixels"], sources.tolist(), places.tolist(), strict=True
        ):
            pixels[top:bottom, left:right] = resize(image[y1:y2, x1:x2], (bottom - top, right - left))
        return warped

    @property
    def warped_type(self) -> np.dtype[np.void]:
        """A crop as it is stored: "pixels", uint8 [S, S, 3], and "place", where of them the image lies (crops.py)."""
        side = self.crop_size
        return np.dtype([("pixels", np.uint8, (side, side, 3)), ("place", np.int16, 4)])

    def inputs(self, warped: Warped) -> npt.NDArray[np.float32]:
        """The input of warped crops, as `crops` has it."""
        height, width = self.trunk.padded_size((self.crop_size, self.crop_size))
        crops = np.zeros((len(warped), height, width, 3), np.float32)
        for crop, pixels, (left, top, right, bottom) in zip(
            crops, warped["pixels"], warped["place"].tolist(), strict=True
        ):
            crop[top:bottom, left:right] = self.trunk.preprocessing.array(pixels[top:bottom, left:right])
        return crops

    def tensor(self, warped: Warped) -> Tensor:
        """`inputs` as the layers take it: float32 [N, 3, S, S], dense in memory as [N, S, S, 3]."""
        import torch

        return torch.from_numpy(self.inputs(warped)).permute(0, 3, 1, 2)

    def maps(self, crops: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The maps of crops [N, S, S, 3]: float32 [N, h, w, C], of the cells whose centre lies in the crop."""
        side = cells_within(self.crop_size, self.trunk)
        return np.ascontiguousarray(self.trunk.maps(crops)[:, :side, :side])

    def pool(self, maps: Any) -> Any:
        """The pooled vectors of whole maps [N, h, w, C]: [N, dim("pool5")], both float32 or tensors of one type."""
        count, height, width, channels = maps.shape
        stacked = maps.reshape(count * height, width, channels)  # one under another, each a window of all its cells
        tops = np.arange(count, dtype=np.int64) * height
        windows = np.stack([np.zeros_like(tops), tops, np.full_like(tops, width - 1), tops + height - 1], axis=1)
        whole = stacked.transpose(2, 0, 1) if isinstance(stacked, np.ndarray) else stacked.permute(2, 0, 1)
        return pool_windows(whole, windows, self.levels)

    def distinct(self, features: Image, boxes: Boxes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Every window is cropped for itself, so each is the first of its vector: int64 [N] and [N], 0 .. N - 1."""
        every = np.arange(len(boxes))
        return every, every

    def window_features(self, features: Image, boxes: Boxes, layer: str = "fc7") -> Vectors:
        """The vectors of windows at a layer, "pool5", "fc6", "fc7" or "logits": float32 [N, dim(layer)].

        features: the image; boxes: float32 [N, 4].
        """
        vectors = np.empty((len(boxes), self.dim(layer)), np.float32)
        for block in blocks(len(boxes), self.batch_size):
            pooled = self.pooled(features, boxes[block])
            as_it_is = layer == "pool5" and isinstance(pooled, np.ndarray)
            vectors[block] = pooled if as_it_is else self.head.numpy(pooled, layer)
        return vectors

    def pooled(self, features: Image, boxes: Boxes, watch: Watch | None = None) -> Any:
        """The vectors of windows at "pool5", the seconds counted as "maps_s" (crops too) and "pooling_s".

        float32 [N, dim("pool5")], or a tensor in the trunk's type; a trunk that knows arrays alone gives an array.
        """
        watch = watch or Watch()
        side, shape = cells_within(self.crop_size, self.trunk), (len(boxes), self.dim("pool5"))
        maps: Any
        vectors: Any = None
        for block in blocks(len(boxes), self.batch_size):
            with watch.stage("maps_s"):
                if hasattr(self.trunk, "live_crop_maps"):
                    maps = self.trunk.live_crop_maps(self.warp(features, boxes[block]))[:, :side, :side]
                else:
                    maps = self.maps(self.crops(features, boxes[block]))
            with watch.stage("pooling_s"):
                part = self.pool(maps)
                if vectors is None:
                    vectors = np.empty(shape, np.float32) if isinstance(part, np.ndarray) else part.new_empty(shape)
                vectors[block] = part
        return np.empty(shape, np.float32) if vectors is None else vectors
