"""In which precision networks compute: float32, or bfloat16 where the processor multiplies it faster."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from spp_det.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # names of torch.cpu.get_capabilities()


def compute_dtype(precision: str) -> torch.dtype:
    """The type of weights and values while a network computes.

    precision: "float32", "bfloat16", or "auto": bfloat16 on a processor with instructions that multiply it
    (AVX512-BF16, AMX), which is 1.9 to 2.5 times as fast there, and float32 on any other, where bfloat16 is emulated
    and slower. Raises ConfigError for another name.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision is one of {', '.join(get_args(Precision))}, not {precision!r}")
    if precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that multiply bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BFLOAT16_INSTRUCTIONS)
