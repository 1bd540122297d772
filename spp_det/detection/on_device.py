"""The path of `detect` on a GPU, where maps, pooling, fc6, fc7, scores, suppression and the regressor's products stay.

What goes to it are the image and the windows' cells, what comes back is some hundred candidates, in one piece: between
the two nothing waits for the device. Triton's interpreter runs the same on a CPU, by which it is tested against
`Detector.candidates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spp_det.boxes import move
from spp_det.detection.candidates import Candidates
from spp_det.detection.device_parts import DeviceParts, device_parts, pool, upload
from spp_det.errors import ConfigError
from spp_det.regions import SPPRegions
from spp_det.regions.spp import distinct_places
from spp_det.structures import Boxes, Image, Size
from spp_det.training import BoxRegressor, LinearSVMs
from spp_det.watch import Watch

if TYPE_CHECKING:
    from spp_det.detection.detector import Detector


NOT_FINITE = -2  # in place of a window
ROWS = 512  # windows come in multiples of so many


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
def candidates_on_device(detector: Detector, image: Image, boxes: Boxes, watch: Watch | None = None) -> Candidates:
    """`Detector.candidates` of boxes float32 [N, 4], N >= 1, where the networks lie; see `can_run`.

    watch: counts the seconds of each stage, which then ends when the device has done it; without one nothing waits for
    the device between the stages, and images of the same size take a CUDA graph. Raises ValueError for a score that is
    not finite, as float16 may give.
    """
    regions: Any = detector.regions
    parts, size = device_parts(detector), (image.shape[0], image.shape[1])
    stage = partial(_stage, watch, device=parts.device)
    maps = regions.map_sizes(size)
    with stage("pooling_s"):
        places, place = regions.places(maps, boxes), np.arange(len(boxes))
        if parts.look is not None:  # which counts windows of the same cells once
            first, place = distinct_places(places)
            places = places[first]
        counts = len(boxes), len(places), len(places) if parts.look is None else parts.look.count(len(places))
        arrays = image, _table(places, boxes, place, counts)
    compute = partial(_compute, detector, parts, maps.scaled_sizes, watch)
    if watch is None:
        shapes = tuple(each.shape for each in arrays)
        weights = tuple(each.data_ptr() for each in parts.parameters)
        settings = (detector.layer, detector.regression_layer, detector.settings, regions.levels, maps)
        found = parts.runs((shapes, settings, weights), arrays, compute)
    else:
        with stage("maps_s"):
            there = [upload(each, parts.device) for each in arrays]
        found = compute(*there).cpu().numpy()
    with stage("rest_s"):
        return _candidates(found, boxes, size)


def _table(
    places: npt.NDArray[np.int64], boxes: Boxes, place: npt.NDArray[np.int64], counts: Sequence[int]
) -> npt.NDArray[np.int32]:
    """All that goes up beside the image, in one piece: int32 [N + 1, 11].

    In a row the place of a window, int64 [<= n, 6], the bits of a box, float32 [n, 4], and `place` of it, int64 [n];
    zeros behind them, so that N is a multiple of ROWS and few graphs are enough; in the last row the counts.
    """
    table = np.zeros((-(-len(boxes) // ROWS) * ROWS + 1, 11), np.int32)
    table[: len(places), :6] = places
    table[: len(boxes), 6:10] = np.ascontiguousarray(boxes, np.float32).view(np.int32)
    table[: len(boxes), 10] = place
    table[-1, : len(counts)] = counts
    return table


def _candidates(found: npt.NDArray[np.float32], boxes: Boxes, size: Size) -> Candidates:
    """Those that `_compute` found among boxes float32 [N, 4] of an image of a size."""
    if found[0, 0, 0] == NOT_FINITE:
        raise ValueError("a score is not finite")
    labels, column = np.nonzero(found[..., 0] >= 0)
    values = found[labels, column]
    rows = values[:, 0].astype(np.int64)
    candidates = Candidates(rows, boxes[rows], np.ascontiguousarray(values[:, 1]), labels)
    if values.shape[1] == 2:
        return candidates
    return candidates.with_regressed(move(candidates.boxes, values[:, 2:], size))


def can_run(detector: Detector) -> bool:
    """Whether `candidates_on_device` knows all of a detector's parts: linear ones, no votes, not R-CNN's order."""
    known = isinstance(detector.svms, LinearSVMs) and isinstance(detector.regressor, BoxRegressor | None)
    ordered = detector.settings.order != "rcnn" and not detector.settings.vote
    regions = detector.regions
    return known and ordered and isinstance(regions, SPPRegions) and regions.live


def _compute(
    detector: Detector,
    parts: DeviceParts,
    scaled_sizes: Sequence[Size],
    watch: Watch | None,
    pixels: Tensor,
    table: Tensor,
) -> Tensor:
    """What each class keeps: float32 [K, L, 2 or 6], the window or -1, its score and the regressor's offsets.

    pixels: uint8 [H, W, 3]; table: what `_table` gives, where the networks lie, as `counts` how many boxes and windows
    there are and how many windows the first look lets through.
    """
    from spp_det.detection.triton_suppression import covers, suppress  # not on every machine

    regions: Any = detector.regions
    settings, stage = detector.settings, partial(_stage, watch, device=parts.device)
    windows, boxes = table[:-1, :6].contiguous(), table[:-1, 6:10].contiguous().view(torch.float32)
    place, counts = table[:-1, 10].long(), table[-1]
    with stage("rest_s"):
        covered = covers(boxes, settings.nms_overlap)
    with stage("maps_s"):
        cells = _one_behind_the_other([regions.live_map(pixels, scaled) for scaled in scaled_sizes])
    if parts.look is not None:
        with stage("first_look_s"):
            rows, slots = parts.look.keeps(cells, windows, counts[1], counts[2])
            windows, place = windows[rows], slots[place]
    with stage("pooling_s"):
        vectors = pool(cells, windows, regions.levels)
    with stage("fc_s"):
        fc7, located = regions.head.layers(vectors, (detector.layer, detector.regression_layer))
    with stage("rest_s"):
        margins = parts.scores(fc7) + parts.intercept  # [M, K]
        there = (place >= 0) & (torch.arange(len(place), device=place.device) < counts[0])
        place = place.clamp(min=0)
        scores = torch.where(there, margins.T[:, place], float("-inf"))
        kept = suppress(covered, scores, settings.min_score, settings.max_per_class)
        chosen = kept.clamp(min=0)
        kept = torch.where(torch.isfinite(margins).all(), kept, NOT_FINITE)
        columns = [kept.float()[..., None], scores.gather(1, chosen)[..., None]]
        if parts.offsets is not None:
            offsets = parts.offsets(located).unflatten(1, (-1, 4)) + parts.constant  # [M, K, 4]
            columns.append(offsets[place[chosen], torch.arange(len(chosen), device=chosen.device)[:, None]])
        return torch.cat(columns, dim=2)


def _one_behind_the_other(maps: Sequence[Tensor]) -> Tensor:
    """The cells of all maps [h, w, C]: [*, C]."""
    flat = [each.reshape(-1, each.shape[2]) for each in maps]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


@contextmanager
def _stage(watch: Watch | None, name: str, device: torch.device) -> Iterator[None]:
    if watch is None:
        yield
        return
    with watch.stage(name):
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
