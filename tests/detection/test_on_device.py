"""The GPU's path with a CPU's tensors: the same detections as the CPU's own path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spp_det.config import DetectConfig
from spp_det.detection import Detector, nms_per_class
from spp_det.detection.first_look import FirstLook
from spp_det.detection.on_device import can_run, candidates_on_device, choose_device, suppress
from spp_det.errors import ConfigError
from spp_det.evaluation.detect_speed import Untrained
from spp_det.evaluation.gpu_speed import gpu_detector, gpu_table, images_a_second, time_on_device
from spp_det.networks import FcHead, Preprocessing, Trunk, compress_head, compute_dtype
from spp_det.networks.live_input import by_arithmetic, by_table
from spp_det.regions import SPPRegions
from spp_det.structures import Proposals
from spp_det.training import BoxRegressor, LinearSVMs
from spp_det.watch import Watch

NAMES = ("cat", "dog", "cow")


def boxes_in(rng, count, height, width):
    low = rng.uniform(0, [width - 12, height - 12], (count, 2))
    high = low + rng.uniform(8, 40, (count, 2))
    return np.concatenate([low, np.minimum(high, [width, height])], axis=1).astype(np.float32)


@pytest.fixture(params=["dense", "compressed", "plain"])
def detector(request):
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, stride=4, padding=2), torch.nn.ReLU())
    trunk = Trunk(
        body, name="t", out_channels=8, stride=4, offset=0.0, preprocessing=Preprocessing((0.5,) * 3, (0.25,) * 3)
    )
    head, look, layer = FcHead(8 * 5, (24, 16), 3), None, "pool5"
    if request.param == "compressed":
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
    regions = SPPRegions(trunk, head, scales=(96, 160), levels=(1, 2))
    settings = DetectConfig(min_score=-0.5, max_per_class=15)
    return Detector(
        None, regions, svms, None if request.param == "plain" else regressor, NAMES, "fc7", layer, settings, look
    )


def test_the_same_candidates(detector):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)
    proposals = Proposals(boxes_in(rng, 150, 96, 128))
    expected = detector.candidates(image, proposals)
    watch = Watch()
    assert can_run(detector)
    found = candidates_on_device(detector, image, proposals.boxes, watch)
    assert len(found) > 20
    np.testing.assert_array_equal(found.windows, expected.windows)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    if detector.regressor is None:
        assert found.regressed is None
    else:
        np.testing.assert_allclose(found.regressed, expected.regressed, atol=1e-3)
    assert {"maps_s", "pooling_s", "fc_s", "rest_s"} <= set(watch.seconds)


@pytest.mark.parametrize("limit", [3, 100, None])
def test_suppression_of_all_classes_at_once(limit):
    rng = np.random.default_rng(2)
    boxes = boxes_in(rng, 120, 100, 140)
    boxes[60:] = boxes[:60] + rng.normal(0, 1, (60, 4)).astype(np.float32)
    scores = np.round(rng.normal(size=(120, 4)), 1).astype(np.float32)  # with ties
    scores[:, 3] = -9
    settings = DetectConfig(min_score=-1.0, nms_overlap=0.3, **({} if limit is None else {"max_per_class": limit}))
    found = suppress(torch.from_numpy(boxes), torch.from_numpy(scores), settings)
    expected = nms_per_class(boxes, scores, 0.3, -1.0, settings.max_per_class)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)


def test_none_above_the_least_score():
    windows, labels = suppress(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([[-3.0, -4.0]]), DetectConfig(min_score=-1))
    assert len(windows) == len(labels) == 0


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_same_input(order, dtype):
    preprocessing = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), order)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    looked_up = by_table(preprocessing, image, dtype)
    assert torch.equal(by_arithmetic(preprocessing, torch.from_numpy(image), dtype), looked_up)
    assert torch.equal(preprocessing(image).to(dtype), looked_up)


def test_parts_of_another_kind_stay_on_the_cpu(detector):
    detector.svms = object()
    assert not can_run(detector)


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    for name, match in (("gpu", "not 'gpu'"), ("meta", "not 'meta'"), ("cuda", "sees 0 GPUs"), ("cuda:3", "sees 0")):
        with pytest.raises(ConfigError, match=match):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="sees 2 GPUs"):
        choose_device("cuda:2")


@pytest.mark.parametrize(("knows", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_precisions_of_a_gpu(knows, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: knows)
    gpu = torch.device("cuda")
    assert compute_dtype("auto", gpu) is dtype
    assert compute_dtype("float16", gpu) is torch.float16
    with pytest.raises(ConfigError, match="not 'float16'"):
        compute_dtype("float16")


def test_the_benchmark_runs_on_a_cpu(tmp_path):
    untrained = Untrained("efficientnet_lite0", scales=(64,))
    detector = gpu_detector(untrained, "float32", "cpu")
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    result = time_on_device(detector, [("a", image)], num_windows=20, repeats=2)
    assert result["total_s"] > 0
    assert set(result["floors"]) == {"maps_s", "pooling_s", "fc_s"}
    assert gpu_table({"float32": result}).row_count == 5
    assert images_a_second(detector, [image], 2, workers=0) > 0
    with pytest.raises(ConfigError, match="GPUs"):
        gpu_detector(untrained, "float32", "cuda:99")
