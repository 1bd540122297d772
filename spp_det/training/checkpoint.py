"""Checkpoints of what learns by gradients: layers and their momentum."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from spp_det.errors import SppDetError
from spp_det.states import Arrays, read_state, write_state

if TYPE_CHECKING:
    from spp_det.training.finetune import FinetuneSettings


def save_checkpoint(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.SGD,
    settings: FinetuneSettings,
    iteration: int,
    log: list[dict[str, float]],
) -> None:
    """The layers that learn, their momentum and the iteration."""
    described = {"settings": asdict(settings), "iteration": iteration, "log": log}
    write_state(path, training_arrays(module, optimizer), described)


def load_checkpoint(
    path: Path | None, module: nn.Module, optimizer: torch.optim.SGD, settings: FinetuneSettings
) -> tuple[int, list[dict[str, float]]]:
    """Put the layers and their momentum back; returns the iterations done and the log, (0, []) where no file is.

    Raises SppDetError where the file is broken, of other settings or of other layers.
    """
    if path is None or not path.exists():
        return 0, []
    arrays, state = read_state(path, asdict(settings))
    restore_training(path, arrays, module, optimizer)
    return state["iteration"], state["log"]


def training_arrays(module: nn.Module, optimizer: torch.optim.SGD) -> Arrays:
    """What learns in a module, and its buffers, as "weight.NAME"; the momentum of what learns as "momentum.NAME"."""
    arrays = {f"weight.{name}": value.detach().cpu().numpy() for name, value in _changing(module).items()}
    for name, parameter in _learning(module).items():
        arrays[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].cpu().numpy()
    return arrays


def restore_training(path: Path, arrays: Arrays, module: nn.Module, optimizer: torch.optim.SGD) -> None:
    """Undo `training_arrays`. Raises SppDetError, naming `path`, where they are of another module."""
    changing = _changing(module)
    shapes = {f"weight.{name}": tuple(value.shape) for name, value in changing.items()}
    if {name: array.shape for name, array in arrays.items() if name.startswith("weight.")} != shapes:
        raise SppDetError(f"{path}: was written for other layers; remove it to start again")
    with torch.no_grad():
        for name, value in changing.items():
            value.copy_(torch.from_numpy(arrays[f"weight.{name}"]))
        for name, parameter in _learning(module).items():
            momentum = torch.empty_like(parameter).copy_(torch.from_numpy(arrays[f"momentum.{name}"]))
            optimizer.state[parameter]["momentum_buffer"] = momentum


def _learning(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def _changing(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**_learning(module), **dict(module.named_buffers())}
