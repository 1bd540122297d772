"""Mirror images as examples of their own, behind the images as they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spp_det.structures import Boxes
from spp_det.training.source import PooledSource, Vectors, Windows


class WithMirrored:
    """A source of pooled vectors, of n images, as one of 2 n: image n + i is the mirror image of i.

    Its windows are those of i, with their boxes as they lie on i: only their vectors are those of the mirror image.
    """

    def __init__(self, source: PooledSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return 2 * len(self.source)

    def windows(self, index: int) -> Windows:
        """The windows of the image, or of the one that is mirrored."""
        return self.source.windows(index % len(self.source))

    def features(self, index: int, boxes: Boxes, layer: str) -> Vectors:
        """The vectors of boxes of image `index`: float32 [n, D]. Raises ValueError for a layer but "pool5"."""
        if layer != "pool5":
            raise ValueError(f"mirror images have pooled vectors alone, none at {layer}")
        mirrored, image = divmod(index, len(self.source))
        return self.source.pooled(image, boxes, flipped=bool(mirrored))

    def cell_ids(self, index: int, boxes: Boxes) -> npt.NDArray[np.int64] | None:
        """As in the source; of a mirror image they are not known."""
        return self.source.cell_ids(index, boxes) if index < len(self.source) else None

    def dim(self, layer: str) -> int:
        """As in the source."""
        return self.source.dim(layer)
