"""The GPU's path beside the CPU's. `python device_path.py [cuda]` prints the name of each check that holds.

Without a GPU it runs in Triton's interpreter, where TRITON_INTERPRET is 1.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
import torch

from spp_det.config import DetectConfig
from spp_det.detection import Detector, nms_per_class, on_device
from spp_det.detection.first_look import FirstLook
from spp_det.images import resize
from spp_det.networks import FcHead, Preprocessing, Trunk, compress_head
from spp_det.networks.live_input import _table_on_device, by_table
from spp_det.pooling import pool_windows, vector_length
from spp_det.pooling.plain import pool_windows_plain
from spp_det.pooling.pool import pooling_plan
from spp_det.regions import SPPRegions
from spp_det.structures import Proposals
from spp_det.training import BoxRegressor, LinearSVMs

CALLS = 6  # of each detector
KINDS = ("dense", "compressed", "plain")
PIXELS = Preprocessing((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))


def boxes_in(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """float32 [count, 4]."""
    low = rng.uniform(0, [width - 12, height - 12], (count, 2))
    high = low + rng.uniform(8, 40, (count, 2))
    return np.concatenate([low, np.minimum(high, [width, height])], axis=1).astype(np.float32)


def detector(kind: str) -> Detector:
    """A tiny one: with regression on pooled vectors, compressed behind a first look, or with neither."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, stride=4, padding=2), torch.nn.ReLU())
    trunk = Trunk(body, name="t", out_channels=8, stride=4, offset=0.0, preprocessing=PIXELS)
    head, look, layer = FcHead(8 * 5, (24, 16), 3), None, "pool5"
    if kind == "compressed":
        head, layer = compress_head(head, 6), "code6"
        look = FirstLook(levels=(1,), keep=0.5, min_windows=20)
        look.channels_ = np.array([1, 2, 6])
        look.hidden_coef_, look.hidden_intercept_ = rng.normal(size=(5, 3)).astype(np.float32), np.ones(5, np.float32)
        look.coef_, look.intercept_ = rng.normal(size=(3, 5)).astype(np.float32), np.zeros(3, np.float32)
    svms, regressor = LinearSVMs(), BoxRegressor()
    svms.coef_, svms.intercept_ = rng.normal(size=(3, 16)).astype(np.float32), np.zeros(3, np.float32)
    svms.scale_ = 0.7
    dim = head.dim(layer)
    regressor.weights_, regressor.scale_ = (0.1 * rng.normal(size=(3, dim + 1, 4))).astype(np.float32), 0.5
    regions = SPPRegions(trunk, head, scales=(40, 60), levels=(1, 2))
    settings = DetectConfig(min_score=-0.5, max_per_class=15)
    chosen = None if kind == "plain" else regressor
    return Detector(None, regions, svms, chosen, ("cat", "dog", "cow"), "fc7", layer, settings, look)


def pooling(device: torch.device) -> None:
    """Bit for bit the plain definition, of maps one behind the other."""
    from spp_det.pooling.triton_kernel import pool_on_device

    rng = np.random.default_rng(0)
    windows = np.array([[0, 0, 8, 5], [3, 1, 3, 1], [2, 4, 7, 5], [8, 0, 8, 4]])
    for levels, (channels, dtype) in product(
        ((1, 2, 3, 6), (5, 2)), ((3, torch.float32), (40, torch.bfloat16), (5, torch.float16))
    ):
        maps = [torch.from_numpy(rng.standard_normal((6, 9, channels), np.float32)).to(dtype) for _ in range(2)]
        cells = torch.cat([each.reshape(-1, channels) for each in maps]).to(device)
        plan = pooling_plan(levels).tolist()
        for chosen, rows in product((0, 1), (None, rng.permutation(6)[:4])):
            where = np.concatenate([np.broadcast_to((54 * chosen, 9), (4, 2)), windows], axis=1)
            out = torch.full((6, vector_length(channels, levels)), -7.0, dtype=dtype, device=device)
            into = None if rows is None else torch.from_numpy(rows).to(device)
            pool_on_device(cells, torch.from_numpy(where).to(device), plan, out, into)
            taken = np.arange(4) if rows is None else rows
            expected = pool_windows_plain(maps[chosen].permute(2, 0, 1).float(), torch.from_numpy(windows), levels)
            assert torch.equal(out.cpu()[taken].float(), expected), (levels, channels)
            assert (out.cpu()[np.setdiff1d(np.arange(6), taken)] == -7).all()
        there = maps[0].permute(2, 0, 1).to(device if device.type == "cuda" else "cpu", dtype)
        if device.type == "cuda" or dtype != torch.float16:  # of which a CPU makes float32
            whole_map = pool_windows_plain(maps[0].permute(2, 0, 1).float(), torch.from_numpy(windows), levels)
            assert torch.equal(pool_windows(there, windows, levels).cpu().float(), whole_map)


def suppression(device: torch.device) -> None:
    """What `nms_per_class` keeps, with equal scores and an IoU at the threshold."""
    from spp_det.detection.triton_suppression import covers, suppress

    rng = np.random.default_rng(2)
    boxes = boxes_in(rng, 120, 100, 140)
    boxes[60:110] = boxes[:50] + rng.normal(0, 1, (50, 4)).astype(np.float32)
    boxes[110:] = boxes[:10]
    boxes[0], boxes[1] = (0, 0, 10, 13), (0, 7, 10, 20)  # 60 of 200 shared: an IoU of 0.3, which is not above it
    scores = np.round(rng.normal(size=(120, 4)), 1).astype(np.float32)
    scores[:, 3] = -9
    for limit in (1, 3, 100, None):
        columns = torch.from_numpy(np.ascontiguousarray(scores.T)).to(device)
        covered = covers(torch.from_numpy(boxes).to(device), 0.3)
        kept = suppress(covered, columns, -1.0, limit).cpu().numpy()
        labels, column = np.nonzero(kept >= 0)
        expected = nms_per_class(boxes, scores, 0.3, -1.0, limit)
        np.testing.assert_array_equal(kept[labels, column], expected[0])
        np.testing.assert_array_equal(labels, expected[1])


def one_window(device: torch.device) -> None:
    """One box, one class, below and above the least score."""
    from spp_det.detection.triton_suppression import covers, suppress

    box = torch.tensor([[0.0, 0, 5, 5]], device=device)
    for score, kept in ((-3.0, -1), (-0.5, 0)):
        found = suppress(covers(box, 0.3), torch.tensor([[score]], device=device), -1.0, 100)
        assert found.tolist() == [[kept]]


def resized_inputs(device: torch.device) -> None:
    """OpenCV's pixels to one level of 255, at most one of a hundred; what is not resized, exactly."""
    from spp_det.networks.triton_input import resized_input

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 31, 3), dtype=np.uint8)
    levels = Preprocessing((0.0,) * 3, (1.0,) * 3, maximum=255.0)
    for height, width in ((20, 31), (33, 50), (13, 17), (10, 16), (1, 7)):
        table = _table_on_device(levels, torch.float32, device)
        there = torch.from_numpy(image).to(device)
        found = resized_input(there, (height, width), (height + 3, width), table, False).permute(1, 2, 0).cpu().numpy()
        difference = np.abs(found[:height] - resize(image, (height, width)))
        assert (found[height:] == 0).all()
        assert difference.max() <= (0 if (height, width) == (20, 31) else 1)
        assert (difference > 0).mean() < 0.01, (height, width, (difference > 0).mean())
    for order, dtype in product(("rgb", "bgr"), (torch.float32, torch.bfloat16, torch.float16)):
        preprocessing = Preprocessing(PIXELS.mean, PIXELS.std, order)  # type: ignore[arg-type]
        table = _table_on_device(preprocessing, dtype, device)
        found = resized_input(torch.from_numpy(image).to(device), (20, 31), (20, 31), table, order == "bgr")
        assert torch.equal(found.cpu(), by_table(preprocessing, image, dtype))


def products(device: torch.device) -> None:
    """With float32 matrices, to 16 bits where the vectors are of a half type."""
    from spp_det.detection.device_parts import Product

    rng = np.random.default_rng(0)
    matrix = (1e-4 * rng.normal(size=(300, 7))).astype(np.float32)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        vectors = torch.from_numpy(rng.normal(size=(50, 300)).astype(np.float32)).to(dtype)
        found = Product(matrix, dtype, device)(vectors.to(device)).cpu().double().numpy()
        expected = vectors.double().numpy() @ matrix.astype(np.float64)
        np.testing.assert_allclose(found, expected, atol=1e-4 * 300**0.5 * 2**-14)


def whole(device: torch.device, kind: str) -> None:
    """The candidates of `Detector.candidates` on a CPU, also after a class has changed."""
    from spp_det.detection.on_device import candidates_on_device

    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    proposals = Proposals(boxes_in(rng, 40, 96, 128))
    ours = detector(kind)
    theirs = copy.deepcopy(ours)
    for network in (theirs.regions.trunk, theirs.regions.head):
        network.to(device)
    for call in range(CALLS):  # on a GPU the second and those behind it by a CUDA graph
        expected = ours.candidates(image, proposals)
        found = candidates_on_device(theirs, image, proposals.boxes)
        assert len(found) > 8
        np.testing.assert_array_equal(found.windows, expected.windows)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_allclose(found.scores, expected.scores, atol=5e-3)
        assert (found.regressed is None) == (ours.regressor is None)
        if found.regressed is not None:
            np.testing.assert_allclose(found.regressed, expected.regressed, atol=0.05)
        for each in (ours, theirs) if 2 * call + 2 == CALLS else ():
            each.svms.coef_ = -each.svms.coef_  # as `add_class` gives new arrays


def convolutions(device: torch.device) -> None:
    """Those that cuDNN computes with their ReLU, the first over blocks of pixels, as float32 has them to 8 bits."""
    torch.manual_seed(0)
    body = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 11, stride=4, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3), torch.nn.ReLU()
    )
    x = torch.randn(1, 3, 75, 102)
    with torch.inference_mode():
        expected = body(x)
        trunk = Trunk(body, name="t", out_channels=8, stride=4, offset=0.0, preprocessing=PIXELS)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            found = trunk.to(device, dtype).compute(x.to(device)).float().cpu()
            assert found.shape == expected.shape
            assert float((found - expected).abs().max() / expected.max()) < 0.02


def ensembles(device: torch.device) -> None:
    """Two detectors together, whose maps lie where the networks do."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    proposals = Proposals(boxes_in(rng, 40, 96, 128))
    ours = [detector("dense"), detector("plain")]
    theirs = copy.deepcopy(ours)
    for each in theirs:
        for network in (each.regions.trunk, each.regions.head):
            network.to(device)
    expected, found = (Detector.ensemble(members).detect(image, proposals) for members in (ours, theirs))
    assert len(found) == len(expected) > 8
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.scores, expected.scores, atol=5e-3)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)


def not_finite(device: torch.device) -> None:
    """A score that is no number is an error, not a missing detection."""
    from spp_det.detection.on_device import candidates_on_device

    rng = np.random.default_rng(1)
    broken = detector("dense")
    broken.svms.intercept_ = np.array([0, np.nan, 0], np.float32)
    for network in (broken.regions.trunk, broken.regions.head):
        network.to(device)
    with pytest.raises(ValueError, match="a score is not finite"):
        candidates_on_device(broken, rng.integers(0, 256, (96, 128, 3), dtype=np.uint8), boxes_in(rng, 30, 96, 128))


def checks() -> Iterator[tuple[str, Callable[[torch.device], None]]]:
    """All of them by name."""
    for check in (pooling, suppression, one_window, resized_inputs, products, convolutions, ensembles, not_finite):
        yield check.__name__, check
    for kind in KINDS:
        yield f"whole, {kind}", lambda device, kind=kind: whole(device, kind)


NAMES_OF_CHECKS = [name for name, _ in checks()]

if __name__ == "__main__":
    torch.backends.cudnn.allow_tf32 = False  # its convolutions round to 11 bits
    if len(sys.argv) == 1:  # the interpreter takes a second for a hundred windows
        on_device.ROWS, CALLS = 8, 1
    for name, check in checks():
        check(torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu"))
        print(name)
