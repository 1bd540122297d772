"""Spatial pyramid pooling of windows in ONNX's standard operators, bit-equal to pooling/kernel.py.

The bounds of the bins are computed in the graph. A bin is covered by four overlapping rectangles whose sides are the
largest powers of two that fit into it, and the maxima of all rectangles of such sides are taken from the map once, in
two loops that double a side in every step (a sparse table; a maximum does not care how often it sees a value). They
take as many steps as the largest bin needs. Levels whose n divides a finer level's are taken from that level's bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from spp_det.export.graph import Graph
from spp_det.pooling.pool import pooling_plan
from spp_det.pooling.pyramid import check_levels

MAX_STEPS = 16  # of a table: maps of up to 2 ** 16 cells a side


def add_pooling(graph: Graph, cells: str, windows: str, levels: Sequence[int]) -> str:
    """The name of the pooled vectors, float32 [R, C * bins], level-major, then channel, then bin row-major.

    cells: float32 [h, w, C], a map; windows: int64 [R, 4], cells (x0, y0, x1, y1), both ends within the map, R >= 1.
    """
    levels = check_levels(levels)
    plan = [tuple(row) for row in pooling_plan(levels).tolist()]
    from_map = [n for n, _, finer, _ in plan if not finer]
    bounds = {n: _bins(graph, windows, n) for n in from_map}
    table = _Table(graph, cells, [sides for n in from_map for sides in bounds[n].sides])
    bins: dict[int, str] = {}  # by level: float32 [R, n, n, C]
    for n, _, finer, _ in plan:
        bins[n] = _reduce(graph, bins[finer], finer, n) if finer else table.maxima(bounds[n])
    vectors = [graph.add("Flatten", graph.add("Transpose", bins[n], perm=[0, 3, 1, 2]), axis=1) for n in levels]
    return vectors[0] if len(vectors) == 1 else graph.add("Concat", *vectors, axis=1)


@dataclass(frozen=True)
class _Bounds:
    """First cells and cell counts of the bins of a level along both axes: int64 [R, n] each, y before x."""

    starts: tuple[str, str]
    sides: tuple[str, str]


def _bins(graph: Graph, windows: str, n: int) -> _Bounds:
    """Bin i of n over L cells from cell s covers s + floor(i * L / n) to s + ceil((i + 1) * L / n) - 1."""
    starts, sides = [], []
    one, count = graph.constant(1), graph.constant(n)
    lower = graph.constant(np.arange(n))
    upper, round_up = graph.constant(np.arange(1, n + 1)), graph.constant(n - 1)
    for first, last in ((1, 3), (0, 2)):
        start = graph.add("Gather", windows, graph.constant([first]), axis=1)  # [R, 1]
        end = graph.add("Gather", windows, graph.constant([last]), axis=1)
        extent = graph.add("Add", graph.add("Sub", end, start), one)
        begin = graph.add("Div", graph.add("Mul", extent, lower), count)  # [R, n]
        stop = graph.add("Div", graph.add("Add", graph.add("Mul", extent, upper), round_up), count)
        starts.append(graph.add("Add", start, begin))
        sides.append(graph.add("Sub", stop, begin))
    return _Bounds((starts[0], starts[1]), (sides[0], sides[1]))


class _Table:
    """The maxima of all rectangles of 2 ** i x 2 ** j cells: float32 [I, J, h, w, C], a rectangle at its first cell."""

    def __init__(self, graph: Graph, cells: str, sides: Sequence[str]) -> None:
        self.graph = graph
        self.powers = graph.constant([2**step for step in range(MAX_STEPS)])
        heights, widths = sides[::2], sides[1::2]
        wide = _grow(graph, cells, 1, self._steps(widths), ("h", "w", "C"))  # [J, h, w, C]
        table = _grow(graph, wide, 1, self._steps(heights), ("J", "h", "w", "C"))
        self.lengths = [graph.shape(table, axis) for axis in (1, 2, 3)]  # J, h, w
        self.rows = graph.add(
            "Reshape", table, graph.add("Concat", graph.constant([-1]), self._channels(table), axis=0)
        )

    def maxima(self, bounds: _Bounds) -> str:
        """The maxima of all bins of a level, float32 [R, n, n, C]."""
        graph = self.graph
        steps: list[str] = []
        firsts: list[str] = []
        lasts: list[str] = []
        for start, side, axis in zip(bounds.starts, bounds.sides, (2, 1), strict=True):
            step = self._step(side)
            last = graph.add("Sub", graph.add("Add", start, side), graph.add("Gather", self.powers, step))
            for kept, value in ((steps, step), (firsts, start), (lasts, last)):
                kept.append(graph.add("Unsqueeze", value, graph.constant([axis])))  # [R, n, 1] and [R, 1, n]
        corners = [
            graph.add("Gather", self.rows, self._row(steps[0], steps[1], y, x), axis=0)
            for y in (firsts[0], lasts[0])
            for x in (firsts[1], lasts[1])
        ]
        return graph.add("Max", *corners)

    def _row(self, *places: str) -> str:
        """The row of the table at (i, j, y, x): int64 [R, n, n]."""
        row = places[0]
        for length, place in zip(self.lengths, places[1:], strict=True):
            row = self.graph.add("Add", self.graph.add("Mul", row, length), place)
        return row

    def _step(self, sides: str) -> str:
        """floor(log2(sides)), by comparing with every power of two."""
        graph = self.graph
        column = graph.add("Unsqueeze", sides, graph.constant([-1]))
        reached = graph.add("Cast", graph.add("GreaterOrEqual", column, self.powers), to=TensorProto.INT64)
        return graph.add("Sub", graph.add("ReduceSum", reached, graph.constant([-1]), keepdims=0), graph.constant(1))

    def _steps(self, sides: Sequence[str]) -> str:
        """How many sides the table needs for the largest bin: an int64 scalar."""
        largest = [self.graph.add("ReduceMax", each, keepdims=0) for each in sides]
        top = largest[0] if len(largest) == 1 else self.graph.add("Max", *largest)
        return self.graph.add("Add", self._step(top), self.graph.constant(1))

    def _channels(self, table: str) -> str:
        return self.graph.add("Unsqueeze", self.graph.shape(table, 4), self.graph.constant([0]))


def _grow(graph: Graph, first: str, axis: int, steps: str, shape: tuple[str, ...]) -> str:
    """`first` and what it becomes by doubling the reach along an axis, step by step: stacked, [steps, *shape].

    Place p of table t holds the maximum of the 2 ** t places from p on, cut at the end.
    """
    body = graph.body()
    step = body.input(np.int64, [])
    go_on = body.input(np.bool_, [])
    table = body.input(np.float32, shape)
    length = body.shape(table, axis)
    half = body.add("Gather", body.constant([2**t for t in range(MAX_STEPS)]), step)
    places = body.add("Range", body.constant(0), length, body.constant(1))
    ahead = body.add("Min", body.add("Add", places, half), body.add("Sub", length, body.constant(1)))
    grown = body.add("Max", table, body.add("Gather", table, ahead, axis=axis))
    body.output(go_on, np.bool_, [])
    body.output(grown, np.float32, shape)
    body.output(table, np.float32, shape)
    _, stacked = graph.add_two("Loop", steps, "", first, body=body.proto("double the reach"))
    return stacked


def _reduce(graph: Graph, fine: str, n_fine: int, n: int) -> str:
    """The bins of a level from those of a finer one: float32 [R, n_fine, n_fine, C] -> [R, n, n, C]."""
    side = n_fine // n
    channels = graph.add("Unsqueeze", graph.shape(fine, 3), graph.constant([0]))
    shape = graph.add("Concat", graph.constant([0, n, side, n, side]), channels, axis=0)
    return graph.add("ReduceMax", graph.add("Reshape", fine, shape), graph.constant([2, 4]), keepdims=0)
