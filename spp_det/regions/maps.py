"""The maps of one image: what the SPP extractor computes once per image, as it is stored and while it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from spp_det.pooling import PreparedMap
from spp_det.pooling.prepared import bits_of
from spp_det.structures import Size
from spp_det.threads import numba_threads

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MapSizes:
    """The sizes of the maps of one image, without the maps.

    size: of the original image; scaled_sizes: of the image at each scale; map_sizes: (h, w) of each map, in cells.
    """

    size: Size
    scaled_sizes: tuple[Size, ...]
    map_sizes: tuple[Size, ...]


@dataclass(frozen=True, eq=False)
class ImageMaps:
    """The maps of one image at every scale.

    size: of the original image; scales: px of the short side asked for; scaled_sizes: of the image at each scale, as
    it was resized; maps: float16 or float32 [h, w, C] at each scale.
    """

    size: Size
    scales: tuple[int, ...]
    scaled_sizes: tuple[Size, ...]
    maps: tuple[npt.NDArray[np.floating[Any]], ...]

    def __post_init__(self) -> None:
        if not self.maps or not len(self.scales) == len(self.scaled_sizes) == len(self.maps):
            raise ValueError("there is one scaled size and one map for each scale, and one scale at least")
        for array in self.maps:
            if array.ndim != 3 or array.dtype not in (np.float16, np.float32):
                raise ValueError(f"a map is float16 or float32 [h, w, C], not {array.dtype} {list(array.shape)}")

    @property
    def map_sizes(self) -> tuple[Size, ...]:
        """(h, w) of each map, in cells."""
        return tuple((each.shape[0], each.shape[1]) for each in self.maps)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything as arrays by name: "size" [2], "scales" [S], "scaled_sizes" [S, 2], "map0", "map1", ..."""
        described = {"size": self.size, "scales": self.scales, "scaled_sizes": self.scaled_sizes}
        arrays: dict[str, npt.NDArray[Any]] = {name: np.array(value, np.int64) for name, value in described.items()}
        return arrays | {f"map{i}": array for i, array in enumerate(self.maps)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Undo `arrays`. Raises KeyError where one is missing."""
        height, width = arrays["size"].tolist()
        scales = tuple(arrays["scales"].tolist())
        scaled_sizes = tuple((h, w) for h, w in arrays["scaled_sizes"].tolist())
        return cls((height, width), scales, scaled_sizes, tuple(arrays[f"map{i}"] for i in range(len(scales))))

    def of_channels(self, chosen: npt.NDArray[np.int64]) -> ImageMaps:
        """The same with some of the channels, int64 [c]."""
        return replace(self, maps=tuple(array[..., chosen] for array in self.maps))

    def as_float32(self) -> ImageMaps:
        """The same with float32 maps; itself if they are."""
        if all(array.dtype == np.float32 for array in self.maps):
            return self
        maps = tuple(array.astype(np.float32) for array in self.maps)
        return ImageMaps(self.size, self.scales, self.scaled_sizes, maps)


@dataclass(frozen=True, eq=False)
class LiveMaps:
    """The maps of an image that is looked at now, in the trunk's own type and ready to be pooled from.

    size, scaled_sizes: as in ImageMaps; maps: [h, w, C] at each scale, where the trunk lies. They take more memory than
    ImageMaps and cannot be stored; a detector forgets them after the image.
    """

    size: Size
    scaled_sizes: tuple[Size, ...]
    maps: tuple[Tensor, ...]
    prepared: tuple[PreparedMap, ...]

    @classmethod
    def of(cls, size: Size, scaled_sizes: tuple[Size, ...], maps: tuple[Tensor, ...]) -> Self:
        """With maps [h, w, C]."""
        return cls(size, scaled_sizes, maps, tuple(PreparedMap(each.permute(2, 0, 1)) for each in maps))

    @property
    def map_sizes(self) -> tuple[Size, ...]:
        """(h, w) of each map, in cells."""
        return tuple((each.shape[0], each.shape[1]) for each in self.maps)

    def of_channels(self, chosen: npt.NDArray[np.int64]) -> LiveMaps:
        """The same with some of the channels, int64 [c]; their values are the same to the bit."""
        return LiveMaps.of(self.size, self.scaled_sizes, tuple(_of_channels(each, chosen) for each in self.maps))


def _of_channels(cells: Tensor, chosen: npt.NDArray[np.int64]) -> Tensor:
    """Some channels of a map [h, w, C]: [h, w, c]."""
    if cells.device.type != "cpu":
        import torch  # numpy arrays are pooled without it

        return cells[..., torch.from_numpy(chosen).to(cells.device)]
    found = cells.new_empty((*cells.shape[:2], len(chosen)))
    numba_threads()
    _choose(bits_of(cells), chosen, bits_of(found))
    return found


@njit(cache=True, nogil=True, parallel=True)
def _choose(cells, chosen, found):  # type: ignore[no-untyped-def]
    """found[y, x, c] = cells[y, x, chosen[c]], of float32 or the bits of bfloat16; torch's selection takes longer."""
    for y in prange(len(cells)):
        for x in range(cells.shape[1]):
            for c in range(len(chosen)):
                found[y, x, c] = cells[y, x, chosen[c]]
