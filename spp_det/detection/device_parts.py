"""What a detector learnt behind its networks, where these lie: for on_device.py."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spp_det.detection.device_runs import DeviceRuns
from spp_det.pooling.pool import pooling_plan
from spp_det.pooling.pyramid import vector_length
from spp_det.training import BoxRegressor, LinearSVMs

if TYPE_CHECKING:
    from spp_det.detection.detector import Detector
    from spp_det.detection.first_look import FirstLook


def pool(cells: Tensor, windows: Tensor, levels: tuple[int, ...]) -> Tensor:
    """The vectors of windows, [N, C * bins]: see `pool_on_device`."""
    from spp_det.pooling.triton_kernel import pool_on_device  # not on every machine

    vectors = cells.new_empty((len(windows), vector_length(cells.shape[1], levels)))
    pool_on_device(cells, windows, pooling_plan(levels).tolist(), vectors)
    return vectors


def upload(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy on the device, which this does not wait for."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


class Product:
    """Products of vectors with a float32 matrix [D, n], in float32, or nearly so where the vectors are of a half type.

    Then the matrix is the sum of two of that type: a float32 copy of all vectors would take longer than their product.
    """

    def __init__(self, matrix: npt.NDArray[np.float32], dtype: torch.dtype, device: torch.device) -> None:
        whole = torch.from_numpy(np.ascontiguousarray(matrix, np.float32))
        largest = float(whole.abs().max())
        self.unit = 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0  # float16 has no very small numbers
        whole = whole / self.unit
        high = whole.to(dtype)
        low = (whole - high.float()).to(dtype)
        self.halves = (high if dtype == torch.float32 else torch.cat([high, low], dim=1)).to(device)

    def __call__(self, vectors: Tensor) -> Tensor:
        """[N, D] -> float32 [N, n]."""
        if vectors.dtype == torch.float32:
            return vectors @ self.halves * self.unit
        if vectors.device.type == "cuda":
            both = torch.mm(vectors, self.halves, out_dtype=torch.float32)
        else:
            both = vectors.float() @ self.halves.float()
        high, low = both.chunk(2, dim=1)
        return (high + low) * self.unit


class DeviceLook:
    """A first look, where the networks lie."""

    def __init__(self, look: FirstLook, dtype: torch.dtype, device: torch.device) -> None:
        self.levels, self.count = look.levels, look.count
        self.channels = None if look.channels_ is None else torch.from_numpy(look.channels_).to(device)
        self.hidden, self.out = Product(look.hidden_coef_.T, dtype, device), torch.from_numpy(look.coef_.T).to(device)
        self.hidden_intercept = torch.from_numpy(look.hidden_intercept_).to(device)
        self.intercept = torch.from_numpy(look.intercept_).to(device)

    def keeps(self, cells: Tensor, windows: Tensor, num_windows: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Rows int64 [m] of `windows` [M, 6], that begin with the best `count` [] of the first `num_windows` []; and
        the place of each of M among these, -1 where it does not go on.
        """
        num, order = len(windows), torch.arange(len(windows), device=windows.device)
        seen = cells if self.channels is None else cells.index_select(1, self.channels)
        hidden = torch.relu(self.hidden(pool(seen, windows, self.levels)) + self.hidden_intercept)
        scores = (hidden @ self.out + self.intercept).amax(dim=1)
        scores = torch.where(order < num_windows, scores, float("-inf"))
        rows = torch.argsort(scores, descending=True, stable=True)[: self.count(num)]
        slots = torch.full_like(order, -1)
        slots[rows] = torch.where(order < count, order, -1)[: len(rows)]
        return rows, slots


@dataclass(frozen=True, eq=False)
class DeviceParts:
    """What a detector learnt behind its networks, where these lie and for their type."""

    dtype: torch.dtype
    device: torch.device
    scores: Product
    intercept: Tensor  # [K]
    offsets: Product | None
    constant: Tensor | None  # [K, 4]
    look: DeviceLook | None
    runs: DeviceRuns
    parameters: tuple[Tensor, ...]  # of the networks


_known: WeakKeyDictionary[Detector, tuple[DeviceParts, tuple[Any, ...]]] = WeakKeyDictionary()


def device_parts(detector: Detector) -> DeviceParts:
    """Those of a detector, uploaded again whenever an array or a network of it, or their type or device, is another."""
    regions: Any = detector.regions
    head = regions.head
    weight = head.fc8.weight
    dtype, device = weight.dtype, weight.device
    svms, regressor, look = detector.svms, detector.regressor, detector.first_look
    assert isinstance(svms, LinearSVMs)
    assert isinstance(regressor, BoxRegressor | None)
    learnt = (svms.coef_, svms.intercept_, None if regressor is None else regressor.weights_, look)
    sources = (*learnt, regions.trunk.body, head, head.fc6, head.fc7)
    before = _known.get(detector)
    if before is not None:
        parts, then = before
        same = all(new is old for new, old in zip(sources, then, strict=True))
        if same and (parts.dtype, parts.device) == (dtype, device):
            return parts
    offsets = constant = None
    if regressor is not None:
        weights = regressor.weights_  # [K, D + 1, 4]
        columns = weights[:, :-1].transpose(1, 0, 2).reshape(weights.shape[1] - 1, -1)
        offsets = Product(columns * np.float32(regressor.scale_), dtype, device)
        constant = torch.from_numpy(weights[:, -1].copy()).to(device)
    parts = DeviceParts(
        dtype,
        device,
        Product(svms.coef_.T * np.float32(svms.scale_), dtype, device),
        torch.from_numpy(svms.intercept_).to(device),
        offsets,
        constant,
        None if look is None else DeviceLook(look, dtype, device),
        DeviceRuns(device),
        tuple(each for network in (regions.trunk, head) for each in network.parameters()),
    )
    _known[detector] = parts, sources
    return parts
