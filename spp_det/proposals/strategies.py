"""The modes of selective search: which hierarchies are built, and which of their windows are kept.

released   the 8 hierarchies of the R-CNN and SPP-net releases (selective_search_boxes.m)
quality    the 80 hierarchies of the selective-search paper (IJCV 2013, table 4)
fast       18 hierarchies over three segmentations from the pixels instead of four: the coarser regions of a
           colour space continue from its finer ones. Near-duplicates of better windows are dropped, which leaves
           room for smaller regions and a third similarity; docs/proposals.md has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from spp_det.proposals.grouping import Similarity

CTSF = Similarity(colour=True, texture=True, size=True, fill=True)
TSF = Similarity(colour=False, texture=True, size=True, fill=True)
FILL = Similarity(colour=False, texture=False, size=False, fill=True)
SIZE = Similarity(colour=False, texture=False, size=True, fill=False)


@dataclass(frozen=True)
class Level:
    """One segmentation: k of its threshold, and the least size of its regions in pixels."""

    k: int
    min_size: int


@dataclass(frozen=True)
class Strategies:
    """All combinations of colour spaces, segmentations and similarity sets.

    shortcuts: whether every segmentation but the first consists of the regions before it (`coarsening`), and edges that
    seldom matter are left out (`sort_edges`), or all is as published.
    chance: how much of a window's priority is drawn, its rank times a number in [1 - chance, 1); 1 in the paper.
    overlap: a window whose IoU with a better one is above this is dropped; 1 keeps all.
    """

    colours: tuple[str, ...]
    levels: tuple[Level, ...]
    similarities: tuple[Similarity, ...]
    shortcuts: bool
    chance: float
    overlap: float


MODES = {
    "fast": Strategies(
        ("hsv", "lab", "intensity"),
        (Level(80, 30), Level(300, 100)),
        (CTSF, TSF, FILL),
        shortcuts=True,
        chance=0.75,
        overlap=0.87,
    ),
    "released": Strategies(
        ("hsv", "lab"), (Level(50, 50), Level(100, 100)), (CTSF, TSF), shortcuts=False, chance=1.0, overlap=1.0
    ),
    "quality": Strategies(
        ("hsv", "lab", "rgi", "h", "intensity"),
        (Level(50, 50), Level(100, 100), Level(150, 150), Level(300, 300)),
        (CTSF, TSF, FILL, SIZE),
        shortcuts=False,
        chance=1.0,
        overlap=1.0,
    ),
}
