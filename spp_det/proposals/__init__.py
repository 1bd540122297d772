"""An image -> Proposals: the windows that may hold an object.

`PROPOSALS` names the methods that a config can choose: the classes `SelectiveSearch`, `BoxFile` and `EdgeBoxes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from spp_det.proposals.edge_boxes import EdgeBoxes
from spp_det.proposals.files import BoxFile
from spp_det.proposals.search import SelectiveSearch, selective_search
from spp_det.structures import Image, Proposals


class ProposalMethod(Protocol):
    """What every method of this room does."""

    def propose(self, image: Image, image_id: str) -> Proposals:
        """The windows of one image, best first; `image_id` is the image's name in its data set."""
        ...


class JoinedProposals:
    """The windows of several methods, one method's after the other's."""

    def __init__(self, methods: Sequence[ProposalMethod]) -> None:
        self.methods = tuple(methods)

    def propose(self, image: Image, image_id: str) -> Proposals:
        """See `ProposalMethod`."""
        return Proposals(np.concatenate([method.propose(image, image_id).boxes for method in self.methods]))


PROPOSALS: dict[str, Callable[..., ProposalMethod]] = {
    "selective_search": SelectiveSearch,
    "file": BoxFile,
    "edge_boxes": EdgeBoxes,
}

__all__ = ["PROPOSALS", "BoxFile", "EdgeBoxes", "JoinedProposals", "SelectiveSearch", "selective_search"]
