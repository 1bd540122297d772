"""The paper's detection tables as data: what each number is, and the settings that make it here.

Figures are mAP on VOC2007 test in %, from He et al. 2014 (arXiv:1406.4729 v4, section 4). The tables of
classification are in classification/tables.py; here are their titles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from spp_det.config import Combination

Side = Literal["spp", "rcnn"]
Settings = tuple[str, ...]  # as `--set` takes them


@dataclass(frozen=True)
class Cell:
    """One number.

    paper: mAP in %, None where the paper has none; classes: its APs in %, in VOC's order of classes, where it has them.
    settings: what makes it, over the base configuration; regressed: with box regression; test: of the test alone.
    joins: rows of the table whose runs are tested as one detector, in place of a run of its own; combine: how.
    """

    row: str
    column: str
    paper: float | None
    side: Side = "spp"
    settings: Settings = ()
    regressed: bool = False
    test: Settings = ()
    classes: tuple[float, ...] = ()
    joins: tuple[str, ...] = ()
    combine: Combination = "union"

    @property
    def name(self) -> str:
        """The column and the row."""
        return self.row if self.row.startswith(self.column) else f"{self.column} {self.row}"


@dataclass(frozen=True)
class PaperTable:
    """A table: its cells row by row, and each side's trunk in the paper.

    seconds: of an image, by column: convolutions, fc layers, both; without proposals, on a GPU of 2014.
    """

    title: str
    cells: tuple[Cell, ...]
    trunks: dict[Side, str] = field(default_factory=lambda: {"spp": "zf5", "rcnn": "zf5"})
    seconds: dict[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Base:
    """The configuration that a trunk's rows start from.

    config: a file of configs/; settings: over it; rcnn: further ones of R-CNN's rows.
    """

    config: str
    settings: Settings = ()
    rcnn: Settings = ()


# What R-CNN's release sets otherwise than SPP-net; configs/voc07_rcnn_zf5.toml has the same, with comments.
RCNN: Settings = (
    "regions.kind=rcnn",
    "finetune.first_conv=1",
    "finetune.negative_overlap=[0.0, 0.5]",
    "finetune.bias_rate=2.0",
    "finetune.fc8_bias=0.0",
    "finetune.fc8_rate=10.0",
    "finetune.random_scales=false",
    "finetune.flip=true",
    "finetune.chunk=20",
    "finetune.windows_per_image=16",
    "svm.near_duplicates=released",
    "regress.min_overlap=0.6",
    "regress.strict=true",
    "regress.regularisation=1000.0",
    "detect.order=rcnn",
    "detect.min_score=-1000.0",
)
_SCHEDULE: Settings = (
    "finetune.iterations=70000",
    "finetune.rates=[[20000, 0.001], [20000, 0.0001], [20000, 0.00001], [10000, 0.000001]]",
)
_NO_PYRAMID: Settings = ("maps.levels=[6]",)  # what fc6 of the networks without one sees

BASES: dict[str, Base] = {
    "zf5": Base("voc07_zf5_paper.toml", rcnn=("trunk.name=zf5_table1", *_SCHEDULE)),
    "caffenet": Base("voc07_zf5_paper.toml", ("trunk.name=caffenet",), (*_NO_PYRAMID, *_SCHEDULE)),
    "alexnet": Base("voc07_alexnet.toml", rcnn=_NO_PYRAMID),
    "caffe_alexnet": Base("voc07_alexnet.toml", ("trunk.name=caffe_alexnet",), _NO_PYRAMID),
    "vgg16": Base("voc07_vgg16.toml", rcnn=("maps.levels=[7]",)),
    "lite0": Base("voc07_lite0.toml", rcnn=_NO_PYRAMID),
}

ONE: Settings = ("maps.scales=[688]",)
FIVE: Settings = ("maps.scales=[480, 576, 688, 864, 1200]",)
SPP_1, SPP_5, R_CNN = "SPP-net, 1 scale", "SPP-net, 5 scales", "R-CNN"
_COLUMNS: dict[str, tuple[Side, Settings]] = {SPP_1: ("spp", ONE), SPP_5: ("spp", FIVE), R_CNN: ("rcnn", ())}

_UNTUNED: Settings = ("finetune.iterations=0", "regress.enabled=false")
_FTFC7: Settings = ("svm.layer=fc7", "regress.enabled=true")
ROWS: dict[str, tuple[Settings, bool]] = {
    "pool5": (("svm.layer=pool5", *_UNTUNED), False),
    "fc6": (("svm.layer=fc6", *_UNTUNED), False),
    "ftfc6": (("svm.layer=fc6", "regress.enabled=false"), False),
    "ftfc7": (_FTFC7, False),
    "ftfc7 bb": (_FTFC7, True),
}


def _grid(figures: dict[str, Sequence[float]]) -> tuple[Cell, ...]:
    """Cells of rows of ROWS, each with a figure for each column."""
    cells = []
    for row, numbers in figures.items():
        settings, regressed = ROWS[row]
        for (column, (side, scales)), paper in zip(_COLUMNS.items(), numbers, strict=True):
            cells.append(Cell(row, column, paper, side, (*scales, *settings), regressed))
    return tuple(cells)


def _per_class(row: str, column: str, paper: float, classes: str) -> Cell:
    settings, regressed = ROWS[row]
    side, scales = _COLUMNS[column]
    figures = tuple(map(float, classes.split()))
    return Cell(f"{column} {row}", column, paper, side, (*scales, *settings), regressed, classes=figures)


def _joined(row: str, paper: float | None, joins: tuple[str, ...], combine: Combination = "union") -> Cell:
    return Cell(row, SPP_5, paper, "spp", _seeded(0), True, joins=joins, combine=combine)


def _variant(row: str, paper: float | None, *settings: str, test: Settings = (), regressed: bool = True) -> Cell:
    return Cell(row, SPP_1, paper, "spp", (*ONE, *_FTFC7, *settings), regressed, test)


def _seeded(seed: int) -> Settings:
    return (*FIVE, *_FTFC7, f"seed={seed}")


_EDGE_BOXES = ("proposals.method=edge_boxes",)

TABLES: dict[str, PaperTable] = {
    "table9": PaperTable(
        "table 9: SPP-net beside R-CNN, whose network is AlexNet's in the paper",
        _grid(
            {
                "pool5": (43.0, 44.9, 44.2),
                "fc6": (42.5, 44.8, 46.2),
                "ftfc6": (52.3, 53.7, 53.1),
                "ftfc7": (54.5, 55.2, 54.2),
                "ftfc7 bb": (58.0, 59.2, 58.5),
            }
        ),
        {"spp": "zf5", "rcnn": "caffenet"},
        {SPP_1: (0.053, 0.089, 0.142), SPP_5: (0.293, 0.089, 0.382), R_CNN: (8.96, 0.07, 9.03)},
    ),
    "table10": PaperTable(
        "table 10: SPP-net beside R-CNN with the same network",
        _grid({"ftfc7": (54.5, 55.2, 55.1), "ftfc7 bb": (58.0, 59.2, 59.2)}),
        seconds={SPP_1: (0.053, 0.089, 0.142), SPP_5: (0.293, 0.089, 0.382), R_CNN: (14.37, 0.089, 14.46)},
    ),
    "table11": PaperTable(
        "table 11: average precision of each class",
        (
            _per_class(
                "ftfc7",
                R_CNN,
                55.1,
                "64.8 68.4 47.0 39.5 30.9 59.8 70.5 65.3 33.5 62.5 50.3 59.5 61.6 67.9 54.1 33.4 57.3 52.9 60.2 62.9",
            ),
            _per_class(
                "ftfc7",
                SPP_5,
                55.2,
                "65.5 65.9 51.7 38.4 32.7 62.6 68.6 69.7 33.1 66.6 53.1 58.2 63.6 68.8 50.4 27.4 53.7 48.2 61.7 64.7",
            ),
            _per_class(
                "ftfc7 bb",
                R_CNN,
                59.2,
                "68.4 74.0 54.0 40.9 35.2 64.1 74.4 69.8 35.5 66.9 53.8 64.2 69.9 69.6 58.9 36.8 63.4 56.0 62.8 64.9",
            ),
            _per_class(
                "ftfc7 bb",
                SPP_5,
                59.2,
                "68.6 69.7 57.1 41.2 40.5 66.3 71.3 72.5 34.4 67.3 61.7 63.1 71.0 69.8 57.6 29.7 59.0 50.2 65.2 68.0",
            ),
        ),
    ),
    # The paper's second model is another pre-training: --set "SPP-net (2):trunk.weights=FILE". Without such a file the
    # two are fine-tunings of one network, as in the rows behind them, of which section 4.4 says that they gain nothing.
    "table12": PaperTable(
        "table 12: two models of the same structure, and two fine-tunings of one",
        (
            Cell("SPP-net (1)", SPP_5, 59.2, "spp", _seeded(0), True),
            Cell("SPP-net (2)", SPP_5, 59.1, "spp", _seeded(1), True),
            _joined("both", 60.9, ("SPP-net (1)", "SPP-net (2)")),
            _joined("both, mean of scores", None, ("SPP-net (1)", "SPP-net (2)"), "mean"),
            Cell("SPP-net (1), again", SPP_5, None, "spp", _seeded(2), True),
            _joined("(1) and again", None, ("SPP-net (1)", "SPP-net (1), again")),
            _joined("(1) and again, mean of scores", None, ("SPP-net (1)", "SPP-net (1), again"), "mean"),
        ),
    ),
    "scales": PaperTable(
        "one scale after the other, and five",
        (
            *(_variant(f"{side} px", None, f"maps.scales=[{side}]") for side in (480, 576)),
            _variant("688 px", 58.0),
            *(_variant(f"{side} px", None, f"maps.scales=[{side}]") for side in (864, 1200)),
            _variant("5 scales", 59.2, *FIVE),
            _variant("5 scales, the release's", None, "maps.scales=[480, 576, 688, 874, 1200]"),
            _variant("5 scales, the release's rule", None, *FIVE, "maps.scale_rule=released"),
        ),
    ),
    "pyramids": PaperTable(
        "pyramids of 50 bins (the paper's), 30, 36 and 1",
        (
            _variant("1, 2, 3, 6", 58.0, "maps.levels=[1, 2, 3, 6]"),
            _variant("1, 2, 3, 4", None, "maps.levels=[1, 2, 3, 4]"),
            _variant("6", None, "maps.levels=[6]"),
            _variant("1", None, "maps.levels=[1]"),
        ),
    ),
    "edgeboxes": PaperTable(
        "section 4.3: EdgeBoxes, without box regression (the paper's columns are of five scales)",
        (
            Cell("selective search", SPP_5, 55.2, "spp", (*FIVE, *_FTFC7)),
            Cell("tested on EdgeBoxes", SPP_5, 52.8, "spp", (*FIVE, *_FTFC7), test=_EDGE_BOXES),
            Cell(
                "trained on both, tested on EdgeBoxes",
                SPP_5,
                56.3,
                "spp",
                (*FIVE, *_FTFC7, "proposals.method=selective_search+edge_boxes"),
                test=_EDGE_BOXES,
            ),
        ),
    ),
}

CLASSIFICATION = {
    "table2": "table 2: errors of 10 views on the validation images of ImageNet 2012, in %",
    "table3": "table 3: top-1 errors of one view, in %",
    "table4": "table 4: errors of one network by its views, in %",
    "table6": "table 6: classification of VOC 2007, mean average precision in %",
    "table7": "table 7: classification of Caltech101, accuracy in %",
}


def aim(change: str) -> tuple[str, str]:
    """(whom a change of settings is for, "" for all; the change itself), of `ROW:key=value` or `key=value`."""
    before, colon, rest = change.partition(":")
    return (before, rest) if colon and "=" not in before else ("", change)
