"""Ridge regression on more examples than memory holds, in float32, by BLAS and a Cholesky factor in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import ssyrk

from spp_det.threads import one_blas_thread
from spp_det.training.source import Vectors

_ROWS = 2048  # examples that are multiplied at a time


def solve_ridge(
    blocks: Iterable[Vectors], targets: npt.NDArray[np.float64], dim: int, regularisation: float
) -> npt.NDArray[np.float64]:
    """The W of least |X W - Y|^2 + regularisation |W|^2: float64 [dim, T].

    blocks: float32 [any, dim], X row block by row block; targets: Y, [n, T].
    The bits are the same for any number of threads: a product with itself is, by OpenBLAS, and the rest goes by one.
    Memory is one square matrix of the lesser of dim and n, and what it is made of: 2,048 rows at a time of X where
    there are more rows than columns, X where there are fewer.
    """
    if len(targets) < dim:
        return _dual(blocks, targets, dim, regularisation)
    return _primal(blocks, targets, dim, regularisation)


def _primal(
    blocks: Iterable[Vectors], targets: npt.NDArray[np.float64], dim: int, regularisation: float
) -> npt.NDArray[np.float64]:
    """(X'X + lambda I) W = X'Y, with X'X accumulated."""
    gram = np.zeros((dim, dim), np.float32, order="F")
    moments = np.zeros((dim, targets.shape[1]))
    seen = 0
    for rows in _stacked(blocks, dim):
        ssyrk(1.0, rows.T, beta=1.0, c=gram, lower=True, overwrite_c=True)
        with one_blas_thread():
            moments += rows.T @ targets[seen : seen + len(rows)].astype(np.float32)
        seen += len(rows)
    return _solve(gram, moments, regularisation)


def _dual(
    blocks: Iterable[Vectors], targets: npt.NDArray[np.float64], dim: int, regularisation: float
) -> npt.NDArray[np.float64]:
    """W = X' (XX' + lambda I)^-1 Y, the same solution."""
    examples = np.empty((len(targets), dim), np.float32)
    seen = 0
    for rows in blocks:
        examples[seen : seen + len(rows)] = rows
        seen += len(rows)
    gram = np.zeros((seen, seen), np.float32, order="F")
    ssyrk(1.0, examples.T, c=gram, trans=True, lower=True, overwrite_c=True)
    coefficients = _solve(gram, targets, regularisation)
    with one_blas_thread():
        return (examples.T @ coefficients.astype(np.float32)).astype(np.float64)


def _solve(
    gram: npt.NDArray[np.float32], right: npt.NDArray[np.float64], regularisation: float
) -> npt.NDArray[np.float64]:
    """(gram + regularisation I)^-1 right, of the lower triangle of `gram`, which is overwritten."""
    np.einsum("ii->i", gram)[:] += np.float32(regularisation)
    with one_blas_thread():
        factor = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        return cho_solve(factor, right.astype(np.float32), check_finite=False).astype(np.float64)


def _stacked(blocks: Iterable[Vectors], dim: int) -> Iterator[Vectors]:
    """The same rows in blocks of 2,048, the last one less: small products are slow. Each is overwritten by the next."""
    buffer = np.empty((_ROWS, dim), np.float32)
    filled = 0
    for block in blocks:
        while len(block):
            taken = block[: _ROWS - filled]
            buffer[filled : filled + len(taken)] = taken
            filled += len(taken)
            block = block[len(taken) :]
            if filled == _ROWS:
                yield buffer
                filled = 0
    if filled:
        yield buffer[:filled]
