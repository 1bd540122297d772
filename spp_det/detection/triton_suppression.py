"""Non-maximum suppression on a GPU, by Triton, of all classes at once: what suppression.py keeps, to the last window.

First which windows cover each other, in the operations of suppression.py, in double precision; then one program a class
takes its best window, strikes out those that it covers, and goes on with the best that is left.
"""

# ruff: noqa: N803 (Triton's constants are written large)

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

BLOCK = 256  # windows that a program compares with one


def covers(boxes: Tensor, threshold: float) -> Tensor:
    """Which boxes, float32 [N, 4], dense, have an IoU above the threshold: int8 [N, N], 1 or 0."""
    num = len(boxes)
    found = torch.empty((num, num), dtype=torch.int8, device=boxes.device)
    with torch.cuda.device_of(boxes):
        # A product and a sum in one step would round otherwise than suppression.py does.
        _cover[num, triton.cdiv(num, BLOCK)](boxes, found, num, threshold, BLOCK, enable_fp_fusion=False)
    return found


def suppress(covered: Tensor, scores: Tensor, min_score: float, max_kept: int | None) -> Tensor:
    """The windows that each class keeps, best first, where they lie: int64 [K, L], -1 behind the last one.

    covered: from `covers`; scores: float32 [K, N], dense, of which those count that are above min_score. L is max_kept,
    or N where that is less or None. Of equal scores the first window counts as the better one.
    """
    classes, num = scores.shape
    limit = num if max_kept is None else min(max_kept, num)
    kept = torch.full((classes, limit), -1, dtype=torch.int64, device=scores.device)
    block = max(triton.next_power_of_2(num), 32)
    warps = min(max(block // 256, 1), 32)
    with torch.cuda.device_of(scores):
        _keep[(classes,)](scores, covered, kept, num, limit, min_score, block, num_warps=warps)
    return kept


@triton.jit
def _cover(boxes, found, num, threshold: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """found[a, b] = whether the IoU of boxes a and b is above the threshold."""
    own = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < num
    x1, y1, x2, y2 = _corners(boxes + 4 * own, None)
    left, top, right, bottom = _corners(boxes + 4 * at, inside)
    width = tl.maximum(tl.minimum(x2, right) - tl.maximum(x1, left), 0.0)
    height = tl.maximum(tl.minimum(y2, bottom) - tl.maximum(y1, top), 0.0)
    shared = width * height
    union = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - shared
    limit = tl.full((BLOCK,), threshold, tl.float64)  # a plain constant would be rounded to float32
    above = shared - limit * union  # tells it as well as the quotient, which takes longer, unless it is nearly 0
    over = above > 0
    if tl.max((tl.abs(above) <= 1e-12 * union).to(tl.int32)) > 0:
        over = shared / union > limit
    tl.store(found + own * num + at, over.to(tl.int8), mask=inside)


@triton.jit
def _corners(box, inside):  # type: ignore[no-untyped-def]
    x1, y1 = tl.load(box, mask=inside).to(tl.float64), tl.load(box + 1, mask=inside).to(tl.float64)
    x2, y2 = tl.load(box + 2, mask=inside).to(tl.float64), tl.load(box + 3, mask=inside).to(tl.float64)
    return x1, y1, x2, y2


@triton.jit
def _keep(scores, covered, kept, num, limit, min_score, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One class: `kept` [K, limit] of scores [K, num] above min_score."""
    label = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    alive = tl.load(scores + label * num + at, mask=at < num, other=float("-inf"))
    alive = tl.where(alive > min_score, alive, float("-inf"))
    best, count = tl.max(alive), 0
    while (best > float("-inf")) & (count < limit):
        window = tl.min(tl.where(alive == best, at, BLOCK))
        tl.store(kept + label * limit + count, window.to(tl.int64))
        struck = tl.load(covered + window.to(tl.int64) * num + at, mask=at < num, other=0)
        alive = tl.where((struck != 0) | (at == window), float("-inf"), alive)
        best = tl.max(alive)
        count += 1
