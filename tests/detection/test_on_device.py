"""The GPU's path in Triton's interpreter, which runs on a CPU: the same detections as the CPU's own path."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from reference import device_path

from spp_det.config import DetectConfig
from spp_det.detection.on_device import can_run, choose_device
from spp_det.errors import ConfigError
from spp_det.evaluation.detect_speed import Untrained
from spp_det.evaluation.gpu_speed import gpu_detector
from spp_det.networks import compute_dtype


def test_the_same_as_on_the_cpu():
    command = [sys.executable, device_path.__file__]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == device_path.NAMES_OF_CHECKS


def test_votes_and_parts_of_another_kind_stay_on_the_cpu():
    detector = device_path.detector("plain")
    assert can_run(detector)
    detector.settings = DetectConfig(vote=True)
    assert not can_run(detector)
    detector = device_path.detector("plain")
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


def test_the_benchmark_wants_a_gpu():
    with pytest.raises(ConfigError, match="GPUs"):
        gpu_detector(Untrained("efficientnet_lite0", scales=(64,)), "float32", "cuda:99")
