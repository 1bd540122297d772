"""In which precision networks compute: float32, or bfloat16 where the processor multiplies it faster."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from spp_det.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]
ON_GPU = ("float16",)  # what else a GPU computes in
BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")  # names of torch.cpu.get_capabilities()


def compute_dtype(precision: str, device: torch.device | None = None) -> torch.dtype:
    """The type of weights and values while a network computes on a device, by default the CPU.

    precision: "float32", "bfloat16", or "auto": bfloat16 on a processor with instructions that multiply it
    (AVX512-BF16, AMX), which is 1.9 to 2.5 times as fast there, and float32 on any other, where bfloat16 is emulated
    and slower. On a GPU "float16" too, which "auto" is where it does not know bfloat16. Raises ConfigError for another.
    """
    on_gpu = device is not None and device.type == "cuda"
    names = (*get_args(Precision), *(ON_GPU if on_gpu else ()))
    if precision not in names:
        raise ConfigError(f"precision is one of {', '.join(names)}, not {precision!r}")
    if precision == "auto" and on_gpu:
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16() else torch.float32
    return getattr(torch, precision)


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions that multiply bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def product_type(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that products are taken in, by autocast, while weights, sums and losses stay float32.

    precision: "auto" is bfloat16 where the device is made for it, see `compute_dtype`.
    """
    if precision == "auto" and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return compute_dtype(precision)
