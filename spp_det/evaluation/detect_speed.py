"""SPP-net beside R-CNN with any trunk, without a training: what a stage takes does not depend on what was learnt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spp_det.config import Config, DataConfig, FinetuneConfig, MapsConfig, RegionsConfig, TrunkConfig
from spp_det.datasets import VOC_CLASSES
from spp_det.detection import Detector
from spp_det.evaluation.timing import time_detectors
from spp_det.parts import make_head, make_proposals, make_regions, make_trunk
from spp_det.structures import Image
from spp_det.training import BoxRegressor, LinearSVMs

HIDDEN = {"efficientnet_lite0": (1024, 1024)}  # as in configs/; 4096, 4096 for the others
LEVELS = {"vgg16": (1, 2, 3, 7)}
UNTRAINED_SCORE = -1.0  # above detect.min_score: suppression and regression have all they can have


def time_untrained(
    images: Sequence[tuple[str, Image]],
    trunk: str = "alexnet",
    weights: str = "random",
    scales: Sequence[int] = (688,),
    num_windows: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """`time_detectors` for both region extractors over one trunk, float32, 20 classes, weights drawn from the seed.

    images: (image id, uint8 [H, W, 3]) of each. Every SVM gives nearly every window the same middling score, so that
    suppression and box regression, on both sides, have more to do than in a trained detector.
    """
    spp, rcnn = (_detector(trunk, weights, tuple(scales), kind, seed) for kind in ("spp", "rcnn"))
    result = time_detectors(images, spp, rcnn, num_windows, progress=progress)
    return result | {"trunk": trunk, "scales": list(scales)}


def _detector(trunk: str, weights: str, scales: tuple[int, ...], kind: str, seed: int) -> Detector:
    config = Config(
        data=DataConfig(root=""),
        trunk=TrunkConfig(trunk, weights),
        maps=MapsConfig(scales, levels=LEVELS.get(trunk, (1, 2, 3, 6))),
        regions=RegionsConfig(kind),
        finetune=FinetuneConfig(hidden=HIDDEN.get(trunk, (4096, 4096))),
    )
    network = make_trunk(config)
    head = make_head(config, network, len(VOC_CLASSES)).eval()
    rng = np.random.default_rng(seed)
    svms = LinearSVMs()
    svms.coef_ = rng.normal(0, 1e-6, (len(VOC_CLASSES), head.dim("fc7"))).astype(np.float32)
    svms.intercept_ = np.full(len(VOC_CLASSES), UNTRAINED_SCORE, np.float32)
    svms.scale_ = 1.0
    regressor = BoxRegressor()
    shape = (len(VOC_CLASSES), head.dim("pool5") + 1, 4)
    regressor.weights_, regressor.scale_ = rng.normal(0, 1e-6, shape).astype(np.float32), 1.0
    return Detector(make_proposals(config), make_regions(config, network, head), svms, regressor, VOC_CLASSES)
