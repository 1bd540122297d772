"""Untrained detectors of every kind that can be exported, small enough to be followed through in a test."""

from __future__ import annotations

from typing import Any

import numpy as np
from reference.tiny_trunk import tiny_trunk

from spp_det.config import Config, DataConfig, DetectConfig, ProposalsConfig
from spp_det.detection import Detector
from spp_det.detection.calibration import Calibration
from spp_det.detection.first_look import FirstLook
from spp_det.networks import FcHead, Trunk, compress_head
from spp_det.proposals import SelectiveSearch
from spp_det.regions import RCNNRegions, SPPRegions
from spp_det.structures import Image
from spp_det.training import BoxRegressor, LinearSVMs

NAMES = ("cat", "dog", "cow")
CONFIG = Config(data=DataConfig(root="none"), proposals=ProposalsConfig(min_side=8, max_windows=150), seed=3)
KINDS: dict[str, dict[str, Any]] = {
    "dense": {},
    "five scales, the release's rules": {
        "scales": (64, 96, 128, 160, 192),
        "levels": (1, 2, 3, 6),
        "scale_rule": "released",
        "mapping": "released",
        "settings": DetectConfig(order="released"),
    },
    "float16 maps, SVMs on pool5": {"dtype": "float16", "layer": "pool5", "regression_layer": "fc7"},
    "fc6, no regressor": {"layer": "fc6", "regression_layer": None},
    "compressed": {"regression_layer": "code6", "rank": (20, 12), "look": True, "calibrated": True},
    "R-CNN": {"kind": "rcnn", "settings": DetectConfig(order="rcnn")},
}


def make(kind: str, trunk: Trunk | None = None, hidden: tuple[int, int] = (32, 24)) -> Detector:
    """A detector of one of KINDS with random weights."""
    wanted = {"levels": (1, 2, 3), "layer": "fc7", "regression_layer": "pool5", "kind": "spp", **KINDS[kind]}
    rng, trunk, levels = np.random.default_rng(1), trunk or tiny_trunk(), wanted["levels"]
    head = FcHead(trunk.out_channels * sum(n * n for n in levels), hidden, len(NAMES)).eval()
    if "rank" in wanted:
        head = compress_head(head, wanted["rank"])
    regions: Any
    if wanted["kind"] == "rcnn":
        regions = RCNNRegions(trunk, head, levels, crop_size=67, context=4)
    else:
        rules = {key: wanted[key] for key in ("scale_rule", "mapping", "dtype") if key in wanted}
        regions = SPPRegions(trunk, head, wanted.get("scales", (160,)), levels, **rules)
    svms = LinearSVMs()
    svms.coef_, svms.scale_ = random(rng, len(NAMES), head.dim(wanted["layer"])), 1.7
    svms.intercept_ = rng.normal(0, 0.1, len(NAMES)).astype(np.float32)
    regressor = None
    if wanted["regression_layer"] is not None:
        regressor = BoxRegressor()
        length = head.dim(wanted["regression_layer"]) + 1
        regressor.weights_ = random(rng, len(NAMES) * 4, length).reshape(len(NAMES), 4, length).transpose(0, 2, 1) / 9
        regressor.scale_ = 1.3
    look = None
    if wanted.get("look"):
        look = FirstLook((1, 2), keep=0.4, min_windows=20)
        look.channels_ = np.arange(0, trunk.out_channels, 2)
        look.hidden_coef_, look.hidden_intercept_ = random(rng, 7, len(look.channels_) * 5), np.ones(7, np.float32)
        look.coef_, look.intercept_ = random(rng, len(NAMES), 7), np.zeros(len(NAMES), np.float32)
    search = SelectiveSearch(seed=3, min_side=8, max_windows=150)
    layer, located = wanted["layer"], wanted["regression_layer"] or "pool5"
    detector = Detector(search, regions, svms, regressor, NAMES, layer, located, wanted.get("settings"), look)
    detector.config = CONFIG
    if wanted.get("calibrated"):
        scores = rng.normal(0, 1, 200).astype(np.float32)
        labels = rng.integers(0, len(NAMES), 200)
        detector.calibration = Calibration().fit(scores, labels, scores + rng.normal(0, 1, 200) > 0, len(NAMES))
    return detector


def random(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Rows that turn values of variance 1 into values of variance 1."""
    return rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)


def picture(height: int = 120, width: int = 160, seed: int = 0) -> Image:
    """Blocks of colour, uint8 [height, width, 3]."""
    blocks = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return blocks.repeat(-(-height // 12), axis=0).repeat(-(-width // 16), axis=1)[:height, :width].copy()
