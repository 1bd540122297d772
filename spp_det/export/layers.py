"""What stands behind the map as graphs: pooling, first look, fc6 and fc7, SVMs and box regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from spp_det.detection.first_look import FirstLook
from spp_det.export.graph import Graph, SharedWeights
from spp_det.export.pooling import add_pooling
from spp_det.training.regression import BoxRegressor
from spp_det.training.svm import LinearSVMs

Arrays = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a detector, and what reads which.

    fc: the weights of fc6 and fc7, or of their factors, by the names of `FcHead.state`. svms read `layer`, the
    regressor, where there is one, `regression_layer`: "pool5", "code6", "fc6" or "fc7".
    """

    channels: int
    levels: tuple[int, ...]
    fc: Arrays
    svms: LinearSVMs
    layer: str
    regressor: BoxRegressor | None
    regression_layer: str
    first_look: FirstLook | None

    @property
    def classes(self) -> int:
        """K, how many classes there are."""
        return len(self.svms.coef_)


def windows_model(layers: Layers, weights: SharedWeights) -> onnx.ModelProto:
    """The graph from a map and windows to scores and offsets.

    map: float32 [C, h, w], one image of the trunk's output; windows: int64 [R, 4], cells (x0, y0, x1, y1), both ends
    within the map, R >= 1. rows: int64 [M], ascending, the windows that the first look lets through, all where there is
    none; scores: float32 [M, K]; offsets: float32 [M, K, 4], where there is a regressor.
    """
    graph = Graph(weights)
    feature_map = graph.input(np.float32, [layers.channels, "h", "w"], "map")
    windows = graph.input(np.int64, ["R", 4], "windows")
    cells = graph.add("Transpose", feature_map, perm=[1, 2, 0])
    count = graph.shape(windows, 0)
    rows = graph.add("Range", graph.constant(0), count, graph.constant(1))
    if layers.first_look is not None:
        rows = _look_first(graph, layers, layers.first_look, cells, windows, count)
        windows = graph.add("Gather", windows, rows, axis=0)
    vectors = add_pooling(graph, cells, windows, layers.levels)
    graph.output(rows, np.int64, ["M"], "rows")
    _add_layers(graph, layers, vectors, "M")
    return graph.model("windows")


def head_model(layers: Layers, weights: SharedWeights) -> onnx.ModelProto:
    """The same behind the pooling: vectors float32 [R, D] to scores [R, K] and offsets [R, K, 4]."""
    graph = Graph(weights)
    length = layers.channels * sum(n * n for n in layers.levels)
    _add_layers(graph, layers, graph.input(np.float32, ["R", length], "vectors"), "R")
    return graph.model("head")


def _look_first(graph: Graph, layers: Layers, look: FirstLook, cells: str, windows: str, count: str) -> str:
    """The rows of the windows that go on: as many as `FirstLook.keeps` takes, of equal scores the first."""
    seen = cells if look.channels_ is None else graph.add("Gather", cells, graph.constant(look.channels_), axis=2)
    coarse = add_pooling(graph, seen, windows, look.levels)
    hidden = graph.add("Relu", _linear(graph, coarse, look.hidden_coef_, look.hidden_intercept_))
    each = _linear(graph, hidden, look.coef_, look.intercept_)
    scores = graph.add("ReduceMax", each, graph.constant([1]), keepdims=0)
    share = graph.add("Mul", graph.add("Cast", count, to=TensorProto.DOUBLE), graph.constant(np.float64(look.keep)))
    kept = graph.add("Cast", graph.add("Ceil", share), to=TensorProto.INT64)
    kept = graph.add("Min", graph.add("Max", kept, graph.constant(look.min_windows)), count)
    number = graph.vector(kept)
    _, best = graph.add_two("TopK", scores, number, axis=0)
    ascending, _ = graph.add_two("TopK", best, number, axis=0, largest=0)
    return ascending


def _add_layers(graph: Graph, layers: Layers, vectors: str, rows: str) -> None:
    """Scores, and offsets where there is a regressor, as outputs of `rows` rows."""
    values = _Values(graph, layers.fc, vectors)
    svms, regressor, classes = layers.svms, layers.regressor, layers.classes
    scores = _linear(graph, values.at(layers.layer), svms.coef_ * np.float32(svms.scale_), svms.intercept_)
    graph.output(scores, np.float32, [rows, classes], "scores")
    if regressor is not None:
        weights = regressor.weights_[:, :-1] * np.float32(regressor.scale_)  # [K, D, 4]
        matrix = weights.transpose(0, 2, 1).reshape(4 * classes, -1)
        offsets = _linear(graph, values.at(layers.regression_layer), matrix, regressor.weights_[:, -1].reshape(-1))
        shaped = graph.add("Reshape", offsets, graph.constant([-1, classes, 4]))
        graph.output(shaped, np.float32, [rows, classes, 4], "offsets")


class _Values:
    """The values of a head's layers, each put into the graph when it is first asked for."""

    def __init__(self, graph: Graph, fc: Arrays, vectors: str) -> None:
        self.graph, self.fc = graph, fc
        self._known = {"pool5": vectors}

    def at(self, layer: str) -> str:
        if layer not in self._known:
            self._known[layer] = self._code(self.at("pool5")) if layer == "code6" else self._rectified(layer)
        return self._known[layer]

    def _code(self, vectors: str) -> str:
        return _linear(self.graph, vectors, self.fc["fc6.first.weight"])

    def _rectified(self, layer: str) -> str:
        """fc6 or fc7 behind its ReLU."""
        below = {"fc6": "pool5", "fc7": "fc6"}[layer]
        if f"{layer}.weight" in self.fc:
            values = _linear(self.graph, self.at(below), self.fc[f"{layer}.weight"], self.fc[f"{layer}.bias"])
        else:
            code = (
                self.at("code6")
                if layer == "fc6"
                else _linear(self.graph, self.at(below), self.fc[f"{layer}.first.weight"])
            )
            second = (self.fc[f"{layer}.second.{part}"] for part in ("weight", "bias"))
            values = _linear(self.graph, code, *second)
        return self.graph.add("Relu", values)


def _linear(
    graph: Graph, values: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None = None
) -> str:
    """values [R, n] by a weight [m, n] and a bias [m] to [R, m]."""
    constants: Sequence[npt.NDArray[np.float32]] = [weight] if bias is None else [weight, bias]
    return graph.add("Gemm", values, *(graph.constant(each.astype(np.float32)) for each in constants), transB=1)
