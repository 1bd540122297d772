"""The optimizer of all training here."""

from __future__ import annotations

import torch
from torch import nn


def sgd(
    module: nn.Module, momentum: float, weight_decay: float, bias_rate: float = 1.0, fc8_rate: float = 1.0
) -> torch.optim.SGD:
    """Stochastic gradient descent on what a module learns, its rate still 0; the decay is on weights only.

    bias_rate, fc8_rate: the rates of biases, and of the layer fc8, over those of the others; `set_rate` keeps to them.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            groups.setdefault((name.endswith("bias"), "fc8." in name), []).append(weight)
    described = [
        {
            "params": weights,
            "factor": (bias_rate if bias else 1.0) * (fc8_rate if fc8 else 1.0),
            "weight_decay": 0.0 if bias else weight_decay,
        }
        for (bias, fc8), weights in groups.items()
    ]
    return torch.optim.SGD(described, lr=0.0, momentum=momentum, fused=True)


def set_rate(optimizer: torch.optim.SGD, rate: float) -> None:
    """The learning rate, each group's times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
