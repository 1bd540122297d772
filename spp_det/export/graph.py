"""An ONNX graph, put together node by node, and written with its large matrices in a file that graphs share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spp_det import __version__
from spp_det.files import write_whole

OPSET = 18
IR_VERSION = 9  # what goes with this opset: runtimes of 2023 and later read it
LARGE = 1024  # bytes of a constant above which it may lie in the shared file
KINDS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
}
ALIGNMENT = 4096  # where an array begins in the shared file, so that a runtime can map it


class SharedWeights:
    """One file beside the graphs that holds their large arrays, each once; the graphs say where in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._content = bytearray()
        self._places: dict[bytes, int] = {}

    def tensor(self, name: str, array: np.ndarray) -> TensorProto:
        """The tensor of a graph that stands for an array in the file."""
        content = np.ascontiguousarray(array).tobytes()
        if content not in self._places:
            self._content += bytes(-len(self._content) % ALIGNMENT)
            self._places[content] = len(self._content)
            self._content += content
        tensor = TensorProto(name=name, dims=array.shape, data_type=KINDS[array.dtype])
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": self.name, "offset": self._places[content], "length": len(content)}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        write_whole(folder / self.name, bytes(self._content))


class Graph:
    """Nodes in the order in which they run; a value, input or constant is known by its name."""

    def __init__(self, weights: SharedWeights | None = None, count: Iterator[int] | None = None) -> None:
        self._weights = weights
        self._count = itertools.count(1) if count is None else count
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def body(self) -> Graph:
        """An empty graph to be the body of one of this graph's loops: no name is in both."""
        return Graph(count=self._count)

    def input(self, kind: type[np.generic], shape: Sequence[int | str], name: str | None = None) -> str:
        """An input; a side of the shape that is a text may have any length."""
        name = name or self._name("i")
        self._inputs.append(helper.make_tensor_value_info(name, KINDS[np.dtype(kind)], shape))
        return name

    def output(self, value: str, kind: type[np.generic], shape: Sequence[int | str], name: str | None = None) -> None:
        """Make a value the next output."""
        name = name or self._name("o")
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, KINDS[np.dtype(kind)], shape))

    def constant(self, values: np.ndarray | np.generic | int | Sequence[int]) -> str:
        """A constant; whole numbers of Python count as int64."""
        array = np.asarray(values) if isinstance(values, np.ndarray | np.generic) else np.array(values, np.int64)
        name = self._name("c")
        if self._weights is not None and array.nbytes > LARGE:
            self._constants.append(self._weights.tensor(name, array))
        else:
            self._constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The one value of an operator on values."""
        name = self._name("v")
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def add_two(self, kind: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """Both values of an operator that has two."""
        names = self._name("v"), self._name("v")
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def shape(self, value: str, axis: int) -> str:
        """The length of a value along an axis, an int64 scalar."""
        return self.add("Gather", self.add("Shape", value), self.constant(axis))

    def vector(self, *scalars: str) -> str:
        """Int64 scalars as one vector, such as a shape."""
        axes = self.constant([0])
        return self.add("Concat", *(self.add("Unsqueeze", scalar, axes) for scalar in scalars), axis=0)

    def proto(self, name: str) -> onnx.GraphProto:
        """The graph as ONNX has it, also as the body of a Loop."""
        return helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._constants)

    def model(self, name: str) -> onnx.ModelProto:
        """The model."""
        return helper.make_model(
            self.proto(name),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="spp_det",
            producer_version=__version__,
        )

    def _name(self, letter: str) -> str:
        return f"{letter}{next(self._count)}"
