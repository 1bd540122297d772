import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.pooling import bin_cells, pool_slowly

from spp_det.pooling import PreparedMap, bin_edges, num_bins, pool_windows, vector_length
from spp_det.pooling.plain import pool_windows_plain

LEVELS = [(1, 2, 3, 6), (6, 3, 2, 1), (1, 2, 4, 5), (1,), (7,), (2, 2), (4, 3, 2, 1), (9, 5)]


def random_windows(rng, num, height, width):
    xs = np.sort(rng.integers(0, width, (num, 2)), axis=1)
    ys = np.sort(rng.integers(0, height, (num, 2)), axis=1)
    return np.stack([xs[:, 0], ys[:, 0], xs[:, 1], ys[:, 1]], axis=1).astype(np.int64)


def plain(feature_map, windows, levels):
    return pool_windows_plain(torch.from_numpy(feature_map), torch.from_numpy(windows), levels).numpy()


@settings(deadline=None, max_examples=100)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 20),
    num=st.integers(0, 40),
    levels=st.sampled_from(LEVELS),
    values=st.sampled_from(["normal", "negative", "ties"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_adaptive_max_pool_bit_for_bit(height, width, channels, num, levels, values, seed):
    rng = np.random.default_rng(seed)
    feature_map = rng.standard_normal((channels, height, width)).astype(np.float32)
    if values == "negative":
        feature_map = -np.abs(feature_map) - 1
    if values == "ties":
        feature_map = np.round(feature_map)  # with both zeros
    windows = random_windows(rng, num, height, width)
    pooled = pool_windows(feature_map, windows, levels)
    assert pooled.dtype == np.float32
    assert pooled.shape == (num, vector_length(channels, levels))
    np.testing.assert_array_equal(pooled, plain(feature_map, windows, levels))


@settings(deadline=None, max_examples=100)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 70),
    levels=st.sampled_from(LEVELS),
    values=st.sampled_from(["normal", "negative", "rectified", "ties"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_bfloat16_equals_adaptive_max_pool_of_the_same_numbers(height, width, channels, levels, values, seed):
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.standard_normal((channels, height, width)).astype(np.float32))
    feature_map = {"negative": -drawn.abs() - 1, "rectified": drawn.relu(), "ties": drawn.round()}.get(values, drawn)
    feature_map = feature_map.bfloat16()
    prepared = PreparedMap(feature_map)
    for num in (40, 3, 40):  # with the table of squares, without, and with the one that is kept
        windows = random_windows(rng, num, height, width)
        pooled = pool_windows(prepared, windows, levels)
        assert pooled.dtype == torch.bfloat16
        assert torch.equal(pooled.float(), pool_windows_plain(feature_map.float(), torch.from_numpy(windows), levels))


def test_many_vectors_go_past_the_caches_unchanged(monkeypatch):
    rng = np.random.default_rng(5)
    feature_map = torch.from_numpy(rng.standard_normal((40, 20, 31)).astype(np.float32))
    windows = random_windows(rng, 50, 20, 31)
    for each in (feature_map, feature_map.bfloat16()):
        before = pool_windows(each, windows)
        monkeypatch.setattr("spp_det.pooling.pool.CACHED", 0)
        assert torch.equal(pool_windows(each, windows), before)
        monkeypatch.undo()


@settings(deadline=None, max_examples=30)
@given(extents=st.tuples(st.integers(1, 9), st.integers(1, 9)), n=st.integers(1, 7), seed=st.integers(0, 1000))
def test_equals_the_loop_over_cells(extents, n, seed):
    rng = np.random.default_rng(seed)
    feature_map = rng.standard_normal((2, *extents)).astype(np.float32)
    windows = random_windows(rng, 3, *extents)
    np.testing.assert_array_equal(pool_windows(feature_map, windows, (1, n)), pool_slowly(feature_map, windows, (1, n)))


@pytest.mark.parametrize("levels", [(1,), (1, 2, 3, 6), (2, 5)])
def test_every_window_of_a_map(levels):
    height, width = 7, 9
    windows = np.array(
        [
            (x0, y0, x1, y1)
            for x0 in range(width)
            for x1 in range(x0, width)
            for y0 in range(height)
            for y1 in range(y0, height)
        ]
    )
    feature_map = np.random.default_rng(0).standard_normal((3, height, width)).astype(np.float32)
    pooled = pool_windows(feature_map, windows, levels)
    np.testing.assert_array_equal(pooled, plain(feature_map, windows, levels))
    few = np.stack([pool_windows(feature_map, window[None], levels)[0] for window in windows[::150]])
    np.testing.assert_array_equal(few, pooled[::150])  # few windows are pooled without the table of squares


def test_large_windows_of_a_large_map():
    rng = np.random.default_rng(1)
    feature_map = rng.standard_normal((4, 75, 130)).astype(np.float32)
    windows = np.concatenate([random_windows(rng, 60, 75, 130), [[0, 0, 129, 74], [0, 3, 129, 4], [5, 0, 5, 74]]])
    for levels in ((1,), (1, 2, 3, 6), (3, 4)):
        np.testing.assert_array_equal(pool_windows(feature_map, windows, levels), plain(feature_map, windows, levels))


def test_order_is_level_channel_bin():
    feature_map = np.arange(2 * 2 * 2, dtype=np.float32).reshape(2, 2, 2)
    pooled = pool_windows(feature_map, np.array([[0, 0, 1, 1]]), (1, 2))
    assert pooled.tolist() == [[3, 7, 0, 1, 2, 3, 4, 5, 6, 7]]


def test_memory_order_dtype_kind_and_threads_change_nothing():
    rng = np.random.default_rng(2)
    feature_map = rng.standard_normal((33, 20, 31)).astype(np.float16).astype(np.float32)
    windows = random_windows(rng, 70, 20, 31)
    expected = plain(feature_map, windows, (1, 2, 3, 6))
    last = np.ascontiguousarray(feature_map.transpose(1, 2, 0))
    tensor = torch.from_numpy(feature_map)[None].contiguous(memory_format=torch.channels_last)[0]
    before = numba.get_num_threads()
    try:
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            for form in (feature_map, last.transpose(2, 0, 1), last.astype(np.float16).transpose(2, 0, 1)):
                np.testing.assert_array_equal(pool_windows(form, windows), expected)
    finally:
        numba.set_num_threads(before)
    pooled = pool_windows(tensor, torch.from_numpy(windows))
    assert isinstance(pooled, torch.Tensor)
    np.testing.assert_array_equal(pooled.numpy(), expected)
    np.testing.assert_array_equal(pool_windows(feature_map[:, ::-1, :][:, ::-1], windows), expected)


def test_out_and_rows():
    rng = np.random.default_rng(3)
    feature_map = rng.standard_normal((5, 8, 9)).astype(np.float32)
    windows = random_windows(rng, 4, 8, 9)
    expected = pool_windows(feature_map, windows)
    out = np.full((4, 250), np.nan, np.float32)
    assert pool_windows(feature_map, windows, out=out) is out
    np.testing.assert_array_equal(out, expected)
    wide = np.full((6, 250), -1, np.float32)
    pool_windows(feature_map, windows, out=wide, rows=np.array([5, 0, 2, 1]))
    np.testing.assert_array_equal(wide[[5, 0, 2, 1]], expected)
    assert (wide[[3, 4]] == -1).all()
    tensor = torch.empty(4, 250)
    assert pool_windows(torch.from_numpy(feature_map), windows, out=tensor) is tensor
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_no_window():
    feature_map = np.zeros((5, 8, 9), np.float32)
    none = np.zeros((0, 4), np.int64)
    assert pool_windows(feature_map, none).shape == (0, 250)
    assert pool_windows(torch.from_numpy(feature_map), none).shape == (0, 250)
    assert pool_windows_plain(torch.from_numpy(feature_map), torch.from_numpy(none)).shape == (0, 250)


MAP = np.zeros((2, 4, 5), np.float32)
WINDOW = np.array([[0, 0, 1, 1]])


@pytest.mark.parametrize(
    "window", [(0, 0, 5, 1), (0, 0, 1, 4), (-1, 0, 1, 1), (0, -1, 1, 1), (2, 0, 1, 1), (0, 2, 1, 1)]
)
def test_wrong_window(window):
    with pytest.raises(ValueError, match=r"window \[.*\] is empty or leaves the map of 5 x 4 cells"):
        pool_windows(MAP, np.array([(0, 0, 0, 0), window]))


@pytest.mark.parametrize(
    "arguments",
    [
        {"feature_map": MAP.astype(np.float64)},
        {"feature_map": MAP[0]},
        {"feature_map": MAP[:, :0]},
        {"feature_map": MAP[:0]},
        {"windows": WINDOW.astype(np.int32)},
        {"windows": WINDOW.astype(np.float32)},
        {"windows": WINDOW[0]},
        {"windows": WINDOW[:, :3]},
        {"levels": ()},
        {"levels": (0, 1)},
        {"levels": (1.5,)},
        {"out": np.zeros((2, 100), np.float32)},
        {"out": np.zeros((1, 99), np.float32)},
        {"out": np.zeros((1, 100))},
        {"out": np.zeros((1, 200), np.float32)[:, ::2]},
        {"out": torch.zeros(1, 100)},
        {"feature_map": torch.zeros(2, 4, 5), "out": torch.zeros(1, 100, dtype=torch.bfloat16)},
        {"feature_map": torch.zeros(2, 4, 5).bfloat16(), "out": torch.zeros(1, 100)},
        {"feature_map": torch.zeros(2, 4, 5).bfloat16(), "out": torch.zeros(1, 200).bfloat16()[:, ::2]},
        {"rows": np.array([0])},
        {"out": np.zeros((1, 100), np.float32), "rows": np.array([1])},
        {"out": np.zeros((1, 100), np.float32), "rows": np.array([-1])},
        {"out": np.zeros((1, 100), np.float32), "rows": np.array([0, 1])},
        {"out": np.zeros((2, 100), np.float32), "rows": np.array([1, 1]), "windows": np.repeat(WINDOW, 2, axis=0)},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=r"\w+ .*(are|is|lie|give|both)"):
        pool_windows(**{"feature_map": MAP, "windows": WINDOW} | arguments)


@given(extent=st.integers(1, 200), n=st.integers(1, 12))
def test_bins_cover_without_a_gap(extent, n):
    edges = bin_edges(extent, n)
    assert [range(*edge) for edge in edges.tolist()] == [bin_cells(extent, n, i) for i in range(n)]
    assert edges[0, 0] == 0
    assert edges[-1, 1] == extent
    assert (edges[:, 1] > edges[:, 0]).all()
    assert (edges[1:, 0] <= edges[:-1, 1]).all()


@given(extent=st.integers(1, 200), n=st.integers(1, 8), k=st.integers(1, 6))
def test_edges_of_a_divisor_nest(extent, n, k):
    coarse, fine = bin_edges(extent, n), bin_edges(extent, n * k)
    np.testing.assert_array_equal(coarse[:, 0], fine[::k, 0])
    np.testing.assert_array_equal(coarse[:, 1], fine[k - 1 :: k, 1])


def test_bins_of_the_224_network():
    assert bin_edges(13, 6).tolist() == [[0, 3], [2, 5], [4, 7], [6, 9], [8, 11], [10, 13]]  # k3 s2
    assert bin_edges(13, 3).tolist() == [[0, 5], [4, 9], [8, 13]]  # k5 s4
    assert bin_edges(13, 2).tolist() == [[0, 7], [6, 13]]  # k7 s6, figure 4
    assert num_bins((1, 2, 3, 6)) == 50
    assert vector_length(256, (1, 2, 3, 6)) == 12800
    with pytest.raises(ValueError, match="at least 1"):
        bin_edges(0, 2)
