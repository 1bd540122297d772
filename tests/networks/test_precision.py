"""bfloat16 computes what float32 does, to its eight bits, and is chosen where the processor has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spp_det.errors import ConfigError
from spp_det.networks import TRUNKS, FcHead, build_trunk, compress_head, compute_dtype, precision


def test_the_names():
    assert compute_dtype("float32") is torch.float32
    assert compute_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(ConfigError, match="auto, float32, bfloat16, not 'half'"):
        compute_dtype("half")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_asks_the_processor(monkeypatch, capabilities, expected):
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: capabilities)
    assert compute_dtype("auto") is expected


@pytest.mark.parametrize("name", TRUNKS)
def test_a_trunk_gives_nearly_the_same_map(name):
    trunk = build_trunk(name, weights="random")
    digest = trunk.digest()
    x = trunk.tensor(np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))[None]
    with torch.inference_mode():
        expected = trunk(x)
        found = trunk.to(torch.bfloat16)(x)
    assert trunk.dtype is torch.bfloat16
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).square().mean().sqrt() < 0.03 * expected.square().mean().sqrt()
    assert trunk.digest() == digest
    assert build_trunk(name, weights="random").to(torch.bfloat16).digest() != digest


@pytest.mark.parametrize("compressed", [False, True])
def test_a_head_gives_nearly_the_same_vectors(compressed):
    head = FcHead(300, (64, 48), 5)
    head = compress_head(head, (40, 30)) if compressed else head
    x = np.random.default_rng(0).standard_normal((50, 300)).astype(np.float32)
    layers = [("code6" if compressed else "pool5"), "fc6", "fc7", "logits"]
    expected = head.numpy_layers(x, layers)
    found = head.to(torch.bfloat16).numpy_layers(x, layers)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        assert np.square(ours - theirs).mean() < 0.02**2 * np.square(theirs).mean()
    assert {value.dtype for value in head.state().values()} == {torch.float32}
