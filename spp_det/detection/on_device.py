"""The path of `detect` on a GPU, where maps, pooling, fc6, fc7, scores, suppression and the regressor's products stay.

What goes to it are the resized pixels and the windows' cells, what comes back is some hundred candidates. The same
operations run on a CPU's tensors, by which they are tested against `Detector.candidates`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spp_det.boxes import move
from spp_det.detection.candidates import Candidates
from spp_det.errors import ConfigError
from spp_det.structures import Boxes, Image
from spp_det.training import BoxRegressor, LinearSVMs
from spp_det.watch import Watch

if TYPE_CHECKING:
    from spp_det.config import DetectConfig
    from spp_det.detection.detector import Detector


def choose_device(name: str) -> torch.device:
    """The device of a name: "auto" is the GPU where there is one, else the CPU.

    Raises ConfigError for a name that torch does not know and for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device is auto, cpu, cuda or cuda:N, not {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device is auto, cpu, cuda or cuda:N, not {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name}: torch sees {torch.cuda.device_count()} GPUs")
    return device


@torch.inference_mode()
def candidates_on_device(detector: Detector, image: Image, boxes: Boxes, watch: Watch) -> Candidates:
    """`Detector.candidates` of boxes float32 [N, 4], N >= 1, where the networks lie.

    For linear SVMs and regressors and the orders "paper" and "released"; stages end when the device has done them.
    """
    svms, regressor = detector.svms, detector.regressor
    assert isinstance(svms, LinearSVMs)
    assert isinstance(regressor, BoxRegressor | None)
    pooled = detector.pool(image, boxes, watch)
    vectors = pooled.vectors
    assert isinstance(vectors, Tensor)
    device = vectors.device
    with watch.stage("fc_s"):
        names = (detector.layer, detector.regression_layer)
        fc7, located = detector.regions.head.layers(vectors, names)
        _finish(device)
    with watch.stage("rest_s"):
        coef = torch.from_numpy(svms.coef_).to(device)
        margins = fc7.float() @ coef.T * svms.scale_ + torch.from_numpy(svms.intercept_).to(device)
        place = torch.from_numpy(pooled.place).to(device)
        scores = margins[place]
        windows, labels = suppress(torch.from_numpy(pooled.boxes).to(device), scores, detector.settings)
        chosen = scores[windows, labels].cpu().numpy()
        offsets = None
        if regressor is not None and len(windows):
            offsets = _offsets(regressor, located, place[windows], labels).cpu().numpy()
        rows, found = windows.cpu().numpy(), labels.cpu().numpy()
        candidates = Candidates(pooled.rows[rows], pooled.boxes[rows], chosen, found)
        if offsets is not None:
            candidates = candidates.with_regressed(move(candidates.boxes, offsets, (image.shape[0], image.shape[1])))
        return candidates


def can_run(detector: Detector) -> bool:
    """Whether `candidates_on_device` knows all of a detector's parts."""
    known = isinstance(detector.svms, LinearSVMs) and isinstance(detector.regressor, BoxRegressor | None)
    return known and detector.settings.order != "rcnn" and hasattr(detector.regions, "scales")


def suppress(boxes: Tensor, scores: Tensor, settings: DetectConfig) -> tuple[Tensor, Tensor]:
    """`nms_per_class` of boxes float32 [N, 4] and scores [N, K] where they lie: windows int64 [M] and labels int64 [M].

    All classes at a time: each takes the best box that is left, and strikes out those that it covers.
    """
    over = _iou(boxes.double()) > settings.nms_overlap  # [N, N]
    order = torch.argsort(scores, dim=0, descending=True, stable=True).T  # [K, N]
    alive = (scores > settings.min_score).T.gather(1, order)  # [K, N], best first
    classes = torch.arange(len(order), device=boxes.device)
    limit = len(boxes) if settings.max_per_class is None else min(settings.max_per_class, len(boxes))
    kept = torch.full((len(order), limit), -1, dtype=torch.int64, device=boxes.device)
    for count in range(limit):
        if count % 16 == 0 and not alive.any():  # asking costs a wait for the device
            break
        best = alive.byte().argmax(dim=1)
        window = order[classes, best]
        there = alive[classes, best]
        kept[:, count] = torch.where(there, window, -1)
        alive[classes, best] = False
        alive &= ~(over[window].gather(1, order) & there[:, None])
    labels, column = torch.nonzero(kept >= 0, as_tuple=True)
    return kept[labels, column], labels


def _iou(boxes: Tensor) -> Tensor:
    """float64 [N, 4] -> [N, N], in the operations of suppression.py."""
    x1, y1, x2, y2 = boxes.T
    width = torch.minimum(x2[:, None], x2) - torch.maximum(x1[:, None], x1)
    height = torch.minimum(y2[:, None], y2) - torch.maximum(y1[:, None], y1)
    shared = width.clamp(min=0) * height.clamp(min=0)
    areas = (x2 - x1) * (y2 - y1)
    return shared / (areas[:, None] + areas - shared)


def _offsets(regressor: BoxRegressor, located: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
    """What the regressors of the labels [M] say of the rows [M] of vectors: float32 [M, 4].

    Each vector is multiplied with all classes at once: a gather of a class's matrix for every candidate is far larger.
    """
    weights = torch.from_numpy(regressor.weights_).to(located.device)  # [K, D + 1, 4]
    used, of_each = rows.unique(return_inverse=True)
    columns = weights[:, :-1].permute(1, 0, 2).flatten(1)  # [D, 4 K]
    said = (located[used].float() @ columns).view(len(used), len(weights), 4)
    return said[of_each, labels] * regressor.scale_ + weights[labels, -1]


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
