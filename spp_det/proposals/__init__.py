"""An image -> Proposals: the windows that may hold an object.

`PROPOSALS` names the methods that a config can choose: the classes `SelectiveSearch`, `BoxFile` and `EdgeBoxes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from spp_det.proposals.edge_boxes import EdgeBoxes
from spp_det.proposals.files import BoxFile
from spp_det.proposals.search import SelectiveSearch, selective_search
from spp_det.structures import Image, Proposals


class ProposalMethod(Protocol):
    """What every method of this room does."""

    def propose(self, image: Image, image_id: str) -> Proposals:
        """The windows of one image, best first; `image_id` is the image's name in its data set."""
        ...


PROPOSALS: dict[str, Callable[..., ProposalMethod]] = {
    "selective_search": SelectiveSearch,
    "file": BoxFile,
    "edge_boxes": EdgeBoxes,
}

__all__ = ["PROPOSALS", "BoxFile", "EdgeBoxes", "SelectiveSearch", "selective_search"]
