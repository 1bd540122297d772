"""SPP-net's region extractor: one pass of the trunk per image and scale, then any window is pooled from the map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from spp_det.images import resize, scaled_size
from spp_det.pooling import PAPER_LEVELS, choose_scales, pool_windows, vector_length, window_cells
from spp_det.pooling.mapping import Integers, Rule
from spp_det.regions.maps import ImageMaps, LiveMaps, MapSizes
from spp_det.structures import Boxes, Image, Size
from spp_det.watch import Watch

if TYPE_CHECKING:
    from torch import Tensor

    from spp_det.networks import FcHead, Trunk
    from spp_det.trunk_facts import TrunkFacts

Vectors = npt.NDArray[np.float32]
Maps = ImageMaps | LiveMaps | MapSizes  # what tells where windows lie

MAX_PIXELS = 1200 * 2400  # of a scaled image: bounds the memory for very long and narrow images
CELL_BITS = 15  # four cell numbers in one key: maps of up to 32,767 cells a side
BLOCK = 512  # windows pooled at a time on their way to the head: 26 MB of vectors of 12,800


class SPPRegions:
    """An image and boxes to one vector per box, by spatial pyramid pooling (section 4.1).

    trunk, head: the networks; the head takes vectors of trunk.out_channels * (bins of the pyramid).
    scales: px of the image's short side, ascending; every window is looked at at one of them.
    levels: of the pyramid. scale_rule, mapping: how a window chooses its scale and its cells, see pooling.mapping.
    dtype: of the maps; float16 halves what is stored, and each value is rounded to 11 bits.

    The steps are public, so that they can be cached: `image_features`, then `pool`, then `head.numpy`. A detector goes
    another way to the same numbers: `live_features`, then `pooled`, then `head.numpy_layers`.
    """

    def __init__(
        self,
        trunk: Trunk,
        head: FcHead,
        scales: Sequence[int] = (688,),
        levels: Sequence[int] = PAPER_LEVELS,
        scale_rule: Rule = "paper",
        mapping: Rule = "paper",
        dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        if not scales or min(scales) < 1 or list(scales) != sorted(set(scales)):
            raise ValueError(f"scales ascend, and one at least is needed: not {tuple(scales)}")
        if dtype not in ("float32", "float16"):
            raise ValueError(f"the maps are float32 or float16, not {dtype}")
        self.trunk = trunk
        self.head = head
        self.scales = tuple(scales)
        self.levels = tuple(levels)
        self.scale_rule: Rule = scale_rule
        self.mapping: Rule = mapping
        self.dtype = np.dtype(dtype)

    def dim(self, layer: str) -> int:
        """The length of a layer's vector: "pool5", "fc6", "fc7" or "logits"."""
        return vector_length(self.trunk.out_channels, self.levels) if layer == "pool5" else self.head.dim(layer)

    def image_features(self, image: Image) -> ImageMaps:
        """The maps of an image, uint8 [H, W, 3]: one pass of the trunk per scale.

        A map keeps the cells whose centre lies in the image, not those that only saw the padding. Memory stays bounded:
        a pass that would take too much goes strip by strip (networks/strips.py). An image so long and narrow that it
        would have over MAX_PIXELS pixels at a scale is resized to that many, and to fewer where its trunk cannot
        be cut into strips and would take too much memory; a UserWarning says so.
        """
        size, sizes = self._sizes(image)
        maps = _largest_first(sizes, lambda scaled: np.ascontiguousarray(self._cells(image, scaled), self.dtype))
        return ImageMaps(size, self.scales, sizes, maps)

    def _cells(self, image: Image, scaled: Size) -> npt.NDArray[np.float32]:
        return self._within(self.trunk.maps(self.trunk.array(resize(image, scaled))[None])[0], scaled)

    def live_features(self, image: Image) -> LiveMaps | ImageMaps:
        """The maps of an image, uint8 [H, W, 3], in the trunk's own type, for windows that are wanted at once.

        Those of `image_features` where the trunk knows arrays alone, as an exported one does, or they are to be rounded
        to float16.
        """
        if not self.live:
            return self.image_features(image)
        size, sizes = self._sizes(image)
        pixels = self.trunk.live_pixels(image)
        return LiveMaps.of(size, sizes, _largest_first(sizes, lambda scaled: self.live_map(pixels, scaled)))

    @property
    def live(self) -> bool:
        """Whether `live_features` gives maps that stay where the trunk lies."""
        return self.dtype != np.float16 and hasattr(self.trunk, "live_map")

    def live_map(self, pixels: Image | Tensor, scaled: Size) -> Tensor:
        """The map of an image at one size, [h, w, C]; pixels: from `trunk.live_pixels`."""
        return self._within(self.trunk.live_map(pixels, scaled), scaled)

    def _sizes(self, image: Image) -> tuple[Size, tuple[Size, ...]]:
        """The size of an image, and that at each scale."""
        size = image.shape[0], image.shape[1]
        return size, self._scaled_sizes(size)

    def _scaled_sizes(self, size: Size) -> tuple[Size, ...]:
        within = self.trunk.max_pixels()
        limit = MAX_PIXELS if within is None else min(MAX_PIXELS, within)
        return tuple(_bounded_size(size, scale, limit) for scale in self.scales)

    def map_sizes(self, size: Size) -> MapSizes:
        """The sizes of the maps of an image of a size; computed from the sizes alone."""
        scaled = self._scaled_sizes(size)
        return MapSizes(size, scaled, tuple(self._map_size(each) for each in scaled))

    def _map_size(self, scaled: Size) -> Size:
        found, (height, width) = self.trunk.map_size(scaled), (cells_within(side, self.trunk) for side in scaled)
        return min(found[0], height), min(found[1], width)

    def _within(self, cells: Any, size: Size) -> Any:
        """Of a map [h, w, C] the cells whose centre lies in the image."""
        height, width = (cells_within(side, self.trunk) for side in size)
        return cells[:height, :width]

    def map_cells(self, size: Size) -> int:
        """How many values the maps of an image of a size have, over all scales; computed from the sizes alone."""
        sides = self._scaled_sizes(size)
        cells = sum(cells_within(height, self.trunk) * cells_within(width, self.trunk) for height, width in sides)
        return cells * self.trunk.out_channels

    def pool(
        self,
        maps: ImageMaps | LiveMaps,
        boxes: Boxes,
        scale_indices: Integers | None = None,
        levels: Sequence[int] | None = None,
    ) -> Any:
        """The pooled vectors of windows: float32 [N, dim("pool5")], of live maps a tensor of their type.

        boxes: float32 [N, 4] on the original image; scale_indices: int64 [N], the scale of each window as an index
        into maps.scales, instead of the one that `scale_rule` chooses (fine-tuning draws them at random).
        levels: of another pyramid than the extractor's own; maps: they may have some of the channels alone; the vectors
        have the length that these make.
        """
        levels = self.levels if levels is None else tuple(levels)
        shape = len(boxes), vector_length(maps.maps[0].shape[2], levels)
        vectors = maps.maps[0].new_empty(shape) if isinstance(maps, LiveMaps) else np.empty(shape, np.float32)
        self._pool_into(vectors, maps, boxes, scale_indices, levels)
        return vectors

    def pooled(self, maps: ImageMaps | LiveMaps, boxes: Boxes, watch: Watch | None = None) -> Any:
        """The vectors of windows at "pool5", as `pool` gives them, the seconds counted as "pooling_s"."""
        with (watch or Watch()).stage("pooling_s"):
            return self.pool(maps, boxes)

    def _pool_into(
        self,
        vectors: Any,
        maps: ImageMaps | LiveMaps,
        boxes: Boxes,
        scale_indices: Integers | None,
        levels: Sequence[int],
    ) -> None:
        if scale_indices is None:
            scale_indices = self._choose_scales(maps, boxes)
        elif scale_indices.shape != (len(boxes),) or not np.isin(scale_indices, np.arange(len(maps.maps))).all():
            raise ValueError(f"scale_indices are {len(boxes)} indices into the {len(maps.maps)} scales")
        for index in range(len(maps.maps)):
            rows = np.flatnonzero(scale_indices == index).astype(np.int64)
            cells = self.cells(maps, boxes[rows], index)
            source = maps.prepared[index] if isinstance(maps, LiveMaps) else maps.maps[index].transpose(2, 0, 1)
            pool_windows(source, cells, levels, out=vectors, rows=rows)

    def _choose_scales(self, maps: Maps, boxes: Boxes) -> Integers:
        return choose_scales(boxes, maps.size, [min(size) for size in maps.scaled_sizes], self.scale_rule)

    def cells(self, maps: Maps, boxes: Boxes, scale_index: int) -> Integers:
        """The cells of windows on the map of one scale: int64 [N, 4], see pooling.window_cells."""
        scaled, cells, trunk = maps.scaled_sizes[scale_index], maps.map_sizes[scale_index], self.trunk
        return window_cells(boxes, maps.size, scaled, cells, trunk.stride, trunk.offset, self.mapping)

    def places(self, maps: Maps, boxes: Boxes) -> Integers:
        """Where windows lie in all maps, one behind the other: int64 [N, 6], as `pool_on_device` takes them."""
        scale_indices, first = self._choose_scales(maps, boxes), 0
        found = np.empty((len(boxes), 6), np.int64)
        for index, (height, width) in enumerate(maps.map_sizes):
            rows = slice(None) if len(maps.map_sizes) == 1 else np.flatnonzero(scale_indices == index)
            found[rows, :2] = first, width
            found[rows, 2:] = self.cells(maps, boxes[rows], index)
            first += height * width
        return found

    def distinct(self, maps: Maps, boxes: Boxes) -> tuple[Integers, Integers]:
        """The first window of each set of cells that windows share, int64 [M], and the place of each there, int64 [N].

        On a VOC image a fifth of selective search's windows share their cells with another one, and so their vector.
        """
        return distinct_places(self.places(maps, boxes))

    def window_features(self, maps: ImageMaps, boxes: Boxes, layer: str = "fc7") -> Vectors:
        """The vectors of windows at a layer, "pool5", "fc6", "fc7" or "logits": float32 [N, dim(layer)].

        maps: from `image_features`; boxes: float32 [N, 4] on the original image. Behind the pooling, windows of the
        same cells are computed once, and the pooled vectors of at most BLOCK windows are in memory at a time.
        """
        if layer == "pool5":
            return self.pool(maps, boxes)
        maps = maps.as_float32()  # once, not once per block
        first, place = self.distinct(maps, boxes)
        pooled = np.empty((min(BLOCK, len(first)), self.dim("pool5")), np.float32)
        vectors = np.empty((len(first), self.dim(layer)), np.float32)
        for block in blocks(len(first), BLOCK):
            part = pooled[: block.stop - block.start]
            self._pool_into(part, maps, boxes[first[block]], None, self.levels)
            vectors[block] = self.head.numpy(part, layer)
        return vectors[place]


def blocks(count: int, length: int) -> Iterator[slice]:
    """Slices of at most `length` that cover 0 .. count - 1 in order."""
    return (slice(start, min(start + length, count)) for start in range(0, count, length))


def distinct_places(places: Integers) -> tuple[Integers, Integers]:
    """`distinct` of what `places` gives, int64 [N, 6]."""
    first_cell, _, *cells = np.ascontiguousarray(places.T)
    keys = np.zeros(len(places), np.int64)
    for column in cells:
        keys = keys << CELL_BITS | column
    if first_cell.any():  # several maps
        firsts = np.unique(first_cell)
        keys = keys * len(firsts) + np.searchsorted(firsts, first_cell)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return first, place


def _largest_first(sizes: Sequence[Size], work: Callable[[Size], Any]) -> tuple[Any, ...]:
    """What a function makes of each size; the smaller ones find the memory of the largest free."""
    found = {size: work(size) for size in sorted(set(sizes), key=min, reverse=True)}
    return tuple(found[size] for size in sizes)


def cells_within(side: int, trunk: TrunkFacts) -> int:
    """How many cells of a map have their centre on one of `side` pixels; at least one."""
    return max(1, int((side - 1 - trunk.offset) // trunk.stride) + 1)


def _bounded_size(size: Size, scale: int, limit: int) -> Size:
    scaled = scaled_size(size, scale)
    if scaled[0] * scaled[1] <= limit:
        return scaled
    side = max(1, int(min(size) * (limit / (size[0] * size[1])) ** 0.5))
    warnings.warn(
        f"an image of {size[1]} x {size[0]} pixels is looked at at a short side of {side} pixels, not {scale}, to "
        "bound the memory",
        stacklevel=2,
    )
    return scaled_size(size, side)
