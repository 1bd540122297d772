"""The least time that a stage can take on this machine: its operations and bytes over what the machine reaches."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from spp_det.detection import Detector
from spp_det.networks import FcHead
from spp_det.regions import SPPRegions
from spp_det.structures import Boxes, Image
from spp_det.watch import Clock

SIDE = 2048  # of the square matrices whose product is timed
COPIED = 20_000_000  # float32 numbers
Peaks = dict[str, float]


def measure_peaks(repeats: int = 5, clock: Clock = time.perf_counter, device: torch.device | None = None) -> Peaks:
    """Operations a second of a matrix product in "float32" and "bfloat16", a multiplication and an addition being two,
    and bytes a second of a memory "copy", each byte counted once. The best of `repeats`. device: the CPU by default;
    a GPU, whose matrices are larger, has "float16" too.
    """
    peaks, on_gpu = {}, device is not None and device.type == "cuda"
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16} | ({"float16": torch.float16} if on_gpu else {})
    side = SIDE * 4 if on_gpu else SIDE
    for name, dtype in types.items():
        a, b = (torch.rand(side, side, dtype=dtype, device=device) for _ in range(2))
        peaks[name] = 2 * side**3 / _best(lambda a=a, b=b: a @ b, repeats, clock, on_gpu)  # type: ignore[misc]
    source, target = torch.rand(COPIED, device=device), torch.empty(COPIED, device=device)
    peaks["copy"] = 4 * COPIED / _best(lambda: target.copy_(source), repeats, clock, on_gpu)
    return peaks


def floors(detector: Detector, image: Image, boxes: Boxes, peaks: Peaks) -> dict[str, float]:
    """Seconds below which "maps_s", "pooling_s" and "fc_s" of SPP-net cannot go, for boxes float32 [N, 4] of an image.

    maps_s: the convolutions' operations; pooling_s: a copy of the pooled vectors; fc_s: the operations of fc6 and fc7.
    Windows of the same cells, and those that the first look drops, do not count.
    """
    regions = detector.regions
    assert isinstance(regions, SPPRegions)
    features = regions.live_features(image)
    first, _ = regions.distinct(features, boxes)
    windows = len(first)
    if detector.first_look is not None:
        windows = int(detector.first_look.keeps(regions, features, boxes[first]).sum())
    name = str(regions.trunk.dtype).removeprefix("torch.")
    return {
        "maps_s": sum(_trunk_operations(regions, size) for size in features.scaled_sizes) / peaks[name],
        "pooling_s": regions.trunk.dtype.itemsize * windows * regions.dim("pool5") / peaks["copy"],
        "fc_s": 2 * windows * _matrix_numbers(regions.head) / peaks[name],
    }


def _trunk_operations(regions: SPPRegions, size: tuple[int, int]) -> int:
    """Of one pass over an image of this size, which is not padded yet."""
    weight = next(regions.trunk.parameters())
    x = torch.empty(1, 3, *regions.trunk.padded_size(size), dtype=weight.dtype, device=weight.device)
    with FlopCounterMode(display=False) as counter, torch.enable_grad():  # else cuDNN's own convolutions: not counted
        regions.trunk.body(x)
    return counter.get_total_flops()


def _matrix_numbers(head: FcHead) -> int:
    """How many numbers the matrices of fc6 and fc7 have."""
    return sum(weight.numel() for fc in (head.fc6, head.fc7) for weight in fc.parameters() if weight.ndim == 2)


def _best(work: Callable[[], object], repeats: int, clock: Clock, on_gpu: bool) -> float:
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    work()
    seconds = []
    for _ in range(repeats):
        wait()
        start = clock()
        work()
        wait()
        seconds.append(clock() - start)
    return min(seconds)
