"""Pooling in ONNX's operators, bit-equal to the kernel and to its plain definition."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from spp_det.export.graph import Graph
from spp_det.export.pooling import add_pooling
from spp_det.pooling import num_bins, pool_windows
from spp_det.pooling.plain import pool_windows_plain

CHANNELS = 3


@functools.cache
def session(levels: tuple[int, ...], channels: int = CHANNELS) -> Any:
    graph = Graph()
    cells = graph.input(np.float32, ["h", "w", channels], "cells")
    windows = graph.input(np.int64, ["R", 4], "windows")
    vectors = add_pooling(graph, cells, windows, levels)
    graph.output(vectors, np.float32, ["R", channels * num_bins(levels)], "vectors")
    return onnxruntime.InferenceSession(graph.model("pooling").SerializeToString())


def draw(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    left, top = rng.integers(0, width, count), rng.integers(0, height, count)
    return np.stack([left, top, rng.integers(left, width), rng.integers(top, height)], axis=1)


@pytest.mark.parametrize("levels", [(1, 2, 3, 6), (1,), (6, 4, 3), (5, 2, 1, 2)])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 7), (20, 33)])
def test_equals_the_kernel_and_the_definition(levels: tuple[int, ...], size: tuple[int, int]) -> None:
    rng = np.random.default_rng([*levels, *size])
    feature_map = rng.standard_normal((CHANNELS, *size)).astype(np.float32)
    whole = np.array([[0, 0, size[1] - 1, size[0] - 1]])
    for windows in (np.concatenate([draw(rng, 30, *size), whole]), draw(rng, 1, *size)):
        inputs = {"cells": feature_map.transpose(1, 2, 0).copy(), "windows": windows}
        found = session(levels).run(None, inputs)[0]
        np.testing.assert_array_equal(found, pool_windows(feature_map, windows, levels))
        plain = pool_windows_plain(torch.from_numpy(feature_map), torch.from_numpy(windows), levels)
        np.testing.assert_array_equal(found, plain.numpy())


def test_a_map_of_a_real_size() -> None:
    """EfficientNet-Lite0's at 600 pixels of a VOC image: 320 channels of 38 x 50 cells."""
    rng = np.random.default_rng(0)
    feature_map = rng.standard_normal((38, 50, 320)).astype(np.float32)
    windows = draw(rng, 200, 38, 50)
    found = session((1, 2, 3, 6), 320).run(None, {"cells": feature_map, "windows": windows})[0]
    np.testing.assert_array_equal(found, pool_windows(feature_map.transpose(2, 0, 1), windows))
