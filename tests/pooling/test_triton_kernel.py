"""That the GPU's kernels compile; tests/detection/test_on_device.py runs them, in the interpreter."""

from __future__ import annotations

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from spp_det.detection import triton_suppression
from spp_det.networks import triton_input
from spp_det.pooling import triton_kernel

LEVELS = ((6, 14, 0, 0, 64), (3, 5, 6, 14, 16), (2, 1, 6, 14, 4), (1, 0, 2, 1, 1))


def _compiles(kernel, signature, constants):
    types = signature | dict.fromkeys(constants, "constexpr")
    return triton.compile(ASTSource(kernel, types, constants), target=GPUTarget("cuda", 90, 32)).asm


@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("rows", [True, False])
def test_pooling(kind, rows):
    types = {"cells": f"*{kind}", "windows": "*i32", "rows": "*i64", "out": f"*{kind}", "channels": "i32"}
    constants = {"LEVELS": LEVELS, "BLOCK": triton_kernel.BLOCK} | ({} if rows else {"rows": None})
    assert "bar.sync" in _compiles(triton_kernel._pool, types | {"length": "i32"}, constants)["ptx"]


def test_suppression():
    types = {"boxes": "*fp32", "found": "*i8", "num": "i32"}
    constants = {"threshold": 0.3, "BLOCK": triton_suppression.BLOCK}
    code = _compiles(triton_suppression._cover, types, constants)
    assert "dense<3.000000e-01> : tensor<256xf64>" in code["ttir"]  # not what float32 makes of it
    types = {"scores": "*fp32", "covered": "*i8", "kept": "*i64", "num": "i32", "limit": "i32", "min_score": "fp32"}
    assert _compiles(triton_suppression._keep, types, {"BLOCK": 2048})["ptx"]


@pytest.mark.parametrize("kind", ["fp32", "bf16", "fp16"])
def test_input(kind):
    sizes = dict.fromkeys(("height", "width", "new_height", "new_width", "padded_width"), "i32")
    types = {"pixels": "*u8", "table": f"*{kind}", "out": f"*{kind}"} | sizes
    assert _compiles(triton_input._resize, types, {"FLIP": True, "BLOCK": triton_input.BLOCK})["ptx"]
