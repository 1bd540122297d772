"""The compiled solver of `LinearSVMs`: coordinate descent on the dual of the hinge loss.

The method is that of Hsieh, Chang, Lin, Keerthi, Sundararajan: *A dual coordinate descent method for large-scale linear
SVM* (ICML 2008), algorithm 3 with its shrinking, which liblinear uses too. liblinear copies the examples into 16 bytes
a number and begins at zero each time; mining trains a class again and again on nearly the same examples, so here they
stay float32 in place, and a training begins where the last one ended.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_FLOATS = {"reassoc", "contract", "nsz"}  # lets sums go by vector instructions; NaN and infinity stay what they are


@njit(cache=True, nogil=True, fastmath=_FLOATS)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@njit(cache=True, nogil=True, fastmath=_FLOATS)
def _add_scaled(target, factor, source):  # type: ignore[no-untyped-def]
    for k in range(len(target)):
        target[k] += factor * source[k]


@njit(cache=True, nogil=True)
def _shuffle(order, count, state):  # type: ignore[no-untyped-def]
    """Shuffle order[:count]; returns the next state of the generator (Marsaglia's xorshift64)."""
    for i in range(count - 1, 0, -1):
        state ^= (state << np.uint64(13)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        state ^= state >> np.uint64(7)
        state ^= (state << np.uint64(17)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        j = np.int64(state % np.uint64(i + 1))
        order[i], order[j] = order[j], order[i]
    return state


@njit(cache=True, nogil=True)
def solve_dual(features, signs, bounds, bias, duals, tol, max_iter, seed):  # type: ignore[no-untyped-def]
    """Minimise 0.5 |sum d y x|^2 - sum d over 0 <= d <= bounds, in place in `duals`.

    features: float32 [N, D]; an x has `bias` as one number more. signs: float32 [N], +1 or -1. bounds, duals: float64
    [N]; duals begins anywhere within. Done when the projected gradients of all examples lie within `tol` of each
    other. Returns (weights float32 [D], the weight of `bias`, passes over the active examples, whether it is done).
    """
    num, dim = features.shape
    weights = np.zeros(dim, np.float32)
    offset = 0.0  # the weight of the bias
    curvature = np.empty(num)
    for i in range(num):
        curvature[i] = _dot(features[i], features[i]) + bias * bias
        if duals[i] > 0:
            _add_scaled(weights, np.float32(duals[i] * signs[i]), features[i])
            offset += duals[i] * signs[i] * bias
    order = np.arange(num)
    active = num
    state = np.uint64(seed) * np.uint64(2654435769) + np.uint64(88172645463325252)
    highest, lowest = np.inf, -np.inf  # of the projected gradients, a pass before: what shrinking goes by
    for passes in range(1, max_iter + 1):
        state = _shuffle(order, active, state)
        new_highest, new_lowest = -np.inf, np.inf
        place = 0
        while place < active:
            i = order[place]
            gradient = signs[i] * (_dot(weights, features[i]) + offset * bias) - 1.0
            at_zero, at_bound = duals[i] <= 0, duals[i] >= bounds[i]
            if (at_zero and gradient > highest) or (at_bound and gradient < lowest):
                active -= 1  # it will hardly move again: left out until the end
                order[place], order[active] = order[active], order[place]
                continue
            projected = gradient
            if (at_zero and gradient > 0) or (at_bound and gradient < 0):
                projected = 0.0
            new_highest, new_lowest = max(new_highest, projected), min(new_lowest, projected)
            if abs(projected) > 1e-12:
                moved = min(max(duals[i] - gradient / curvature[i], 0.0), bounds[i])
                change = (moved - duals[i]) * signs[i]
                duals[i] = moved
                _add_scaled(weights, np.float32(change), features[i])
                offset += change * bias
            place += 1
        if new_highest - new_lowest <= tol:
            if active == num:
                return weights, offset, passes, True
            active = num  # those left out are looked at once more
            highest, lowest = np.inf, -np.inf
            continue
        highest = new_highest if new_highest > 0 else np.inf
        lowest = new_lowest if new_lowest < 0 else -np.inf
    return weights, offset, max_iter, False
