"""The configuration of a classifier's training and testing: a TOML file with the table [classifier].

The defaults are the paper's (section 3.1). An unknown key or a value of the wrong type raises ConfigError with the file
and the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec

from spp_det.config import Precision, TrunkConfig, checked, read_table

SizeRule = Literal["in_turn", "random"]
Views = Literal["crop", "full", "10 crops", "10", "96", "98"]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class FoldersConfig(_Table, frozen=True, kw_only=True):
    """Where the images are: root/train and root/val hold one folder a class."""

    root: str
    train: str = "train"
    val: str = "val"  # "": none; the rate then falls by the loss of training
    classes: list[str] | None = None  # None: the names of the folders below train, sorted


class ClassifierConfig(_Table, frozen=True):
    """What stands behind the trunk."""

    levels: tuple[int, ...] = (1, 2, 3, 6)  # (6,) is the twin without a pyramid
    hidden: tuple[int, int] = (4096, 4096)
    dropout: float = 0.5


class TrainingConfig(_Table, frozen=True):
    """Images, their sizes, and the descent."""

    epochs: int = 70
    batch_size: int = 128  # over all processes
    rate: float = 0.01
    drops: int = 2  # how often the rate is divided by 10
    patience: int = 4  # epochs without a lower error before it is
    drop_after: tuple[int, ...] = ()  # or after these epochs, whatever the error
    momentum: float = 0.9
    weight_decay: float = 5e-4
    short_side: int = 256  # px; crops are taken from the image at this size
    crop: int = 224  # px
    sizes: tuple[int, ...] = (224, 180)  # px that the crop is resized to; (224,) is the paper's single-size training
    size_rule: SizeRule = "in_turn"  # by epoch; "random": any from the least to the greatest of them
    flip: bool = True
    colour: float = 0.1  # deviation of the shift along the colours' principal components; 0: none
    checkpoint_every: int = 500  # iterations
    workers: int = -1  # processes that read images, for each process that trains; -1: one a core


class TestingConfig(_Table, frozen=True):
    """How images are looked at when the classifier is tested; see docs/classification.md."""

    views: tuple[Views, ...] = ("crop", "full", "10 crops", "10", "96", "98")
    short_side: int = 256  # px; of "crop", "full" and both of ten views
    view: int = 224  # px; the side of a view
    scales: tuple[int, ...] = (224, 256, 300, 360, 448, 560)  # px; short sides for "96" and "98"


class ClassificationConfig(_Table, frozen=True, kw_only=True):
    """One classifier."""

    data: FoldersConfig
    seed: int = 0
    precision: Precision = "auto"  # bfloat16 for products where the device is made for it; weights stay float32
    trunk: TrunkConfig = TrunkConfig(name="zf5_table1", weights="random", input="torchvision")
    classifier: ClassifierConfig = ClassifierConfig()
    training: TrainingConfig = TrainingConfig()
    testing: TestingConfig = TestingConfig()

    def __post_init__(self) -> None:
        for name, text in _faults(self):
            raise ValueError(f"{text} - at `$.{name}`")


def _faults(config: ClassificationConfig) -> list[tuple[str, str]]:
    training, testing, levels = config.training, config.testing, config.classifier.levels
    checks = [
        ("classifier.levels", bool(levels) and min(levels, default=0) >= 1, "needs at least one level of 1 or more"),
        ("classifier.dropout", 0 <= config.classifier.dropout < 1, "lies in 0 .. 1"),
        ("training.epochs", training.epochs >= 1, "must be 1 or more"),
        ("training.batch_size", training.batch_size >= 1, "must be 1 or more"),
        ("training.rate", training.rate > 0, "must be above 0"),
        ("training.crop", 16 <= training.crop <= training.short_side, "lies between 16 and training.short_side"),
        (
            "training.sizes",
            bool(training.sizes) and min(training.sizes, default=0) >= 16,
            "needs sizes of 16 px or more",
        ),
        (
            "training.drop_after",
            all(1 <= first < then for first, then in pairwise((*training.drop_after, training.epochs))),
            "needs epochs that rise, from 1 to less than training.epochs",
        ),
        ("training.checkpoint_every", training.checkpoint_every >= 1, "must be 1 or more"),
        ("training.workers", training.workers >= -1, "must be -1 or more"),
        ("testing.views", bool(testing.views), "needs at least one"),
        (
            "testing.scales",
            bool(testing.scales) and min(testing.scales, default=0) >= testing.view,
            "needs testing.view or more",
        ),
        ("testing.view", 16 <= testing.view <= testing.short_side, "lies between 16 and testing.short_side"),
    ]
    return [(name, text) for name, holds, text in checks if not holds]


def is_classification(path: str | Path) -> bool:
    """Whether a configuration file is a classifier's. Raises ConfigError where it cannot be read."""
    return "classifier" in read_table(path)


def load_classification(path: str | Path, overrides: Sequence[str] = (), **replaced: Any) -> ClassificationConfig:
    """Read the configuration of a classifier; arguments and faults as of `spp_det.config.read_table`."""
    return checked(read_table(path, overrides, **replaced), ClassificationConfig, str(path))
