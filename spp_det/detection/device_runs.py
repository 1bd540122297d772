"""A function of tensors on a GPU, called again and again: from the second call of the same shapes as a CUDA graph.

Python takes longer to start some sixty kernels one by one than the GPU to run them; a graph starts them at once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]
GRAPHS = 64  # that are kept; they share the memory of what lies between input and result


class DeviceRuns:
    """Calls functions of tensors on one device with arrays; one at a time, whatever the threads."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = Lock()
        self._runs: OrderedDict[Hashable, _Run] = OrderedDict()
        self._memory: Any = None

    def __call__(self, key: Hashable, arrays: Sequence[Array], compute: Callable[..., Tensor]) -> Array:
        """What `compute` makes of the arrays on the device, as an array.

        compute: takes a tensor for each array, and does the same for the same key: it depends on nothing else, not on
        the tensors' values, and does not wait for the device. key: also says the shapes and types of the arrays.
        """
        if self._device.type != "cuda":
            return compute(*(torch.from_numpy(np.ascontiguousarray(each)) for each in arrays)).numpy()
        with self._lock, torch.cuda.device(self._device):
            if self._memory is None:
                self._memory = torch.cuda.graph_pool_handle()
            run = self._runs.pop(key, None) or _Run(arrays, self._device)
            self._runs[key] = run
            if len(self._runs) > GRAPHS:
                self._runs.popitem(last=False)
            return run(arrays, compute, self._memory)


class _Run:
    """Inputs of some shapes, in the host's pinned memory and on the device, and the graph where there is one."""

    def __init__(self, arrays: Sequence[Array], device: torch.device) -> None:
        shapes = [(torch.from_numpy(np.empty(0, each.dtype)).dtype, each.shape) for each in arrays]
        self._pinned = [torch.empty(shape, dtype=dtype, pin_memory=True) for dtype, shape in shapes]
        self._inputs = [torch.empty(shape, dtype=dtype, device=device) for dtype, shape in shapes]
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Tensor
        self._found: Tensor  # pinned

    def __call__(self, arrays: Sequence[Array], compute: Callable[..., Tensor], memory: Any) -> Array:
        for pinned, there, array in zip(self._pinned, self._inputs, arrays, strict=True):
            pinned.numpy()[...] = array
            there.copy_(pinned, non_blocking=True)
        self._calls += 1
        if self._calls == 2:
            self._capture(compute, memory)
        if self._graph is None:
            return compute(*self._inputs).cpu().numpy()
        self._graph.replay()
        self._found.copy_(self._result, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._found.numpy().copy()

    def _capture(self, compute: Callable[..., Tensor], memory: Any) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
                self._result = compute(*self._inputs)
        except RuntimeError as fault:  # a network of somebody's own may wait for the device
            log.warning("no CUDA graph can be made of this network, which makes it slower: %s", fault)
            return
        self._found = torch.empty(self._result.shape, dtype=self._result.dtype, pin_memory=True)
        self._graph = graph
