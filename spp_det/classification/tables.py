"""The paper's tables of classification (P4 tables 2, 3, 4, 6 and 7) as rows: what to run, and what the paper has.

Figures are in %: errors in tables 2, 3 and 4, which are smaller for the better, mean average precision in table 6,
accuracy in table 7. `run_row` computes a row here, on data of the caller's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.classification.config import ClassificationConfig, Views
from spp_det.classification.feature_files import compute_features, fit_svm
from spp_det.classification.features import ImageFeatures
from spp_det.classification.protocols import PerClassSplits, mean_ap
from spp_det.classification.scoring import split_accuracies
from spp_det.classification.testing import evaluate_classifier
from spp_det.classification.training import train_classifier
from spp_det.config import checked, config_to_dict
from spp_det.errors import ConfigError

PYRAMID, SIX = (1, 2, 3, 6), (6,)
SPLITS = ("train", "test", "splits", "seed")  # the parameters of PerClassSplits
SHORT = {"zf5": "ZF-5", "convnet5": "Convnet*-5", "overfeat5": "Overfeat-5", "overfeat7": "Overfeat-7"}


@dataclass(frozen=True)
class Row:
    """One row of a table.

    table: its number; name: what stands at the row's head; kind: "imagenet" (train, then test by views), "voc" or
    "caltech" (SVMs on features); settings: of the training by dotted keys, or of `ImageFeatures`; paper: the paper's
    figures by column, in %; network: the trained network that it is of, which other rows share; views: of the test.
    """

    table: int
    name: str
    kind: str
    settings: Mapping[str, Any]
    paper: Mapping[str, float]
    network: str
    views: Views = "10"


TRAININGS: dict[str, dict[str, Any]] = {
    "no SPP": {"classifier.levels": SIX, "training.sizes": (224,)},
    "single-size": {"classifier.levels": PYRAMID, "training.sizes": (224,)},
    "multi-size": {"classifier.levels": PYRAMID, "training.sizes": (224, 180)},
    "random size": {"classifier.levels": PYRAMID, "training.sizes": (224, 180), "training.size_rule": "random"},
    "single-size, 30 bins": {"classifier.levels": (1, 2, 3, 4), "training.sizes": (224,)},
}

# Table 2 and the text of section 3.1: top-1 and top-5 errors of 10 views.
TABLE_2: dict[tuple[str, str], tuple[float, float]] = {
    ("zf5", "no SPP"): (35.99, 14.76),
    ("convnet5", "no SPP"): (34.93, 13.92),
    ("overfeat5", "no SPP"): (34.13, 13.52),
    ("overfeat7", "no SPP"): (32.01, 11.97),
    ("zf5", "single-size"): (34.98, 14.14),
    ("convnet5", "single-size"): (34.38, 13.54),
    ("overfeat5", "single-size"): (32.87, 12.80),
    ("overfeat7", "single-size"): (30.36, 11.12),
    ("zf5", "multi-size"): (34.60, 13.64),
    ("convnet5", "multi-size"): (33.94, 13.33),
    ("overfeat5", "multi-size"): (32.26, 12.33),
    ("overfeat7", "multi-size"): (29.68, 10.95),
    ("zf5", "single-size, 30 bins"): (35.06, 14.04),
    ("overfeat7", "random size"): (30.06, 10.96),
}

# Table 3: top-1 errors of one view, the central crop and the full image.
TABLE_3: dict[tuple[str, str], tuple[float, float]] = {
    ("zf5", "single-size"): (38.01, 37.55),
    ("zf5", "multi-size"): (37.57, 37.07),
    ("overfeat7", "single-size"): (33.18, 32.72),
    ("overfeat7", "multi-size"): (32.57, 31.25),
}

ONE_VIEW: tuple[Views, Views] = ("crop", "full")

# Table 4 and section 3.1.5: errors of Overfeat-7, multi-size; 96 views have no top-1 in the paper.
TABLE_4: dict[Views, dict[str, float]] = {
    "10": {"top-1": 29.68, "top-5": 10.95},
    "96": {"top-5": 9.36},
    "98": {"top-1": 27.86, "top-5": 9.14},
}

# Tables 6 and 7 by column: the network, its levels, the view and the side; then layers and figures.
SOURCES: dict[str, tuple[str, tuple[int, ...], str, int]] = {
    "a": ("zf5", SIX, "crop", 224),
    "b": ("zf5", PYRAMID, "crop", 224),
    "c": ("zf5", PYRAMID, "full", 224),
    "d": ("zf5", PYRAMID, "full", 392),
    "e": ("overfeat7", PYRAMID, "full", 364),
    "f": ("overfeat7", PYRAMID, "full", 224),
}
TABLE_6: dict[str, dict[str, float]] = {
    "a": {"conv4": 59.96, "conv5": 66.34, "pooled 6x6": 69.14, "fc6": 74.86, "fc7": 75.90},
    "b": {"conv4": 57.28, "conv5": 65.43, "pooled 6x6": 68.76, "fc6": 75.55, "fc7": 76.45},
    "c": {"pooled 6x6": 70.82, "fc6": 77.32, "fc7": 78.39},
    "d": {"pooled 6x6": 71.67, "fc6": 78.78, "fc7": 80.10},
    "e": {"pooled 6x6": 76.09, "fc6": 81.58, "fc7": 82.44},
}
TABLE_7: dict[str, dict[str, float]] = {
    "a": {"conv4": 80.12, "conv5": 84.40, "pooled 6x6": 87.98, "fc6": 87.86, "fc7": 85.30},
    "b": {"conv4": 81.03, "conv5": 83.76, "pooled 6x6": 87.60, "pyramid": 89.47, "fc6": 88.54, "fc7": 86.10},
    "c": {"pooled 6x6": 89.46, "pyramid": 91.44, "fc6": 89.50, "fc7": 87.08},
    "f": {"pooled 6x6": 91.46, "pyramid": 93.42, "fc6": 91.83, "fc7": 90.00},
}


def rows(table: int) -> list[Row]:
    """The rows of table 2, 3, 4, 6 or 7. Raises ValueError for another."""
    if table not in (2, 3, 4, 6, 7):
        raise ValueError(f"the tables of classification are 2, 3, 4, 6 and 7, not {table}")
    if table == 2:
        return [_imagenet(2, key, "10", {"top-1": top1, "top-5": top5}) for key, (top1, top5) in TABLE_2.items()]
    if table == 3:
        return [
            _imagenet(3, key, views, {"top-1": figure})
            for key, figures in TABLE_3.items()
            for views, figure in zip(ONE_VIEW, figures, strict=True)
        ]
    if table == 4:
        return [_imagenet(4, ("overfeat7", "multi-size"), views, paper) for views, paper in TABLE_4.items()]
    return [
        _features(table, source, layer, figure)
        for source, figures in (TABLE_6 if table == 6 else TABLE_7).items()
        for layer, figure in figures.items()
    ]


def _imagenet(table: int, key: tuple[str, str], views: Views, paper: Mapping[str, float]) -> Row:
    network, training = key
    epochs = 70 if network == "zf5" else 90
    settings = {"trunk.name": f"{network}_table1", "training.epochs": epochs, **TRAININGS[training]}
    name = f"{SHORT[network]}, {training}, {views} view{'' if views in ('crop', 'full') else 's'}"
    return Row(table, name, "imagenet", settings, paper, f"{network}, {training}", views)


def _features(table: int, source: str, layer: str, figure: float) -> Row:
    network, levels, view, side = SOURCES[source]
    settings = {"trunk": network if view == "full" else f"{network}_table1", "view": view, "side": side}
    settings |= {"layer": "pooled" if layer in ("pooled 6x6", "pyramid") else layer}
    settings |= {"levels": SIX if layer == "pooled 6x6" else levels}
    spp = "no SPP" if levels == SIX else "SPP"
    name = f"{spp} {SHORT[network]}, {view} {side}, {layer}"
    kind, column = ("voc", "mAP") if table == 6 else ("caltech", "accuracy")
    return Row(table, name, kind, settings, {column: figure}, f"{network}, {spp}")


def run_row(row: Row, data: Path, out: Path, changes: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Compute a row; returns its figures in % by the paper's columns.

    data: for "imagenet" a folder with train and val, for "voc" a devkit, for "caltech" a folder of class folders.
    out: where "imagenet" leaves its training, in a folder that rows of the same network share, and goes on where it
    was. changes: settings in place of the row's: see `row_config` and `row_features`.
    Raises SppDetError for data or weights that are not there or do not fit.
    """
    if row.kind == "imagenet":
        config = row_config(row, changes, data)
        folder = out / training_folder(row, config)
        train_classifier(config, folder)
        errors = evaluate_classifier(folder, overrides=[f'testing.views=["{row.views}"]'])["views"][row.views]
        figures = {"top-1": 100 * errors["top1"], "top-5": 100 * errors["top5"]}
        return {column: figures[column] for column in row.paper}
    extractor, splits = row_features(row, changes)
    if row.kind == "voc":
        train, test = (compute_features(extractor, data, split) for split in ("trainval", "test"))
        return {"mAP": 100 * mean_ap(test.labels, fit_svm(train).decision_function(test.vectors))}
    return {"accuracy": 100 * float(np.mean(split_accuracies(compute_features(extractor, data), 1.0, splits)))}


def row_config(row: Row, changes: Mapping[str, Any] | None = None, data: Path = Path()) -> ClassificationConfig:
    """The configuration of an "imagenet" row. changes: settings by dotted keys. Raises ConfigError."""
    table: dict[str, Any] = {"data": {"root": str(data)}, "trunk": {"weights": "random", "input": "torchvision"}}
    for key, value in {**row.settings, "testing.views": (row.views,), **(changes or {})}.items():
        part, dot, name = key.partition(".")
        if dot:
            table.setdefault(part, {})[name] = value
        else:
            table[part] = value
    return checked(table, ClassificationConfig, row.name)


def training_folder(row: Row, config: ClassificationConfig) -> str:
    """The name of the folder where a row's network is trained: the same for rows that differ in the test alone."""
    trained = {key: value for key, value in config_to_dict(config).items() if key not in ("data", "testing")}
    digest = hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()[:8]
    return f"{row.network.replace(', ', '_').replace(' ', '_')}-{digest}"


def row_features(row: Row, changes: Mapping[str, Any] | None = None) -> tuple[ImageFeatures, PerClassSplits]:
    """What a row of "voc" or "caltech" takes its vectors with, and Caltech101's splits.

    changes: parameters of either; a `run`, the folder of a classifier trained here, stands in place of trunk and
    weights. Raises ConfigError for a name that is neither's.
    """
    chosen = {**row.settings, **(changes or {})}
    of_splits = {name: chosen.pop(name) for name in SPLITS if name in chosen}
    known = ImageFeatures().get_params()
    unknown = sorted(chosen.keys() - known.keys())
    if unknown:
        raise ConfigError(f"{row.name}: there is no setting {unknown[0]}; there are {', '.join([*known, *SPLITS])}")
    return ImageFeatures(**{**chosen, "verbose": True}), PerClassSplits(**of_splits)
