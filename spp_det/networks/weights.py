"""Reading the weights of a network from a file or a download, and putting them into it, each fault in one line."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from spp_det.errors import DataError, WeightsError
from spp_det.files import read_npz

Tensors = Mapping[str, Tensor]


def read_tensors(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The float32 tensors of a weight file by name, in the file's order.

    Reads .npz without pickles, .safetensors, and .pth or .pt with `weights_only=True`: a dict of tensors, or one under
    the key "state_dict". Raises WeightsError for a file that is missing, of another kind or broken, or that holds
    something else than finite numbers.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise WeightsError(f"{path}: weights are read from {', '.join(_READERS)}, not from {path.suffix or 'this'}")
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weight file")
    try:
        content = _READERS[path.suffix](path)
    except pickle.UnpicklingError:
        raise WeightsError(f"{path}: is broken, or a pickle that holds more than tensors, which is not read") from None
    except DataError as fault:
        raise WeightsError(f"{path}: is a broken weight file ({fault.fault})") from None
    except (OSError, ValueError, RuntimeError, TypeError, SafetensorError) as fault:
        raise WeightsError(f"{path}: is a broken weight file ({_first_line(fault)})") from None
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no dict of tensors")
    return {str(name): _checked(path, str(name), value) for name, value in content.items()}


def _read_npz(path: Path) -> Mapping[str, Any]:
    return {name: torch.from_numpy(array) for name, array in read_npz(path).items()}


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError):
        raise
    except Exception as fault:  # whatever the unpickler makes of broken bytes: IndexError, struct.error, ..
        raise ValueError(f"{type(fault).__name__}: {_first_line(fault)}") from None
    return content.get("state_dict", content) if isinstance(content, Mapping) else content


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".npz": _read_npz,
    ".safetensors": lambda path: load_file(path),
    ".pth": _read_torch,
    ".pt": _read_torch,
}


def _checked(path: Path, name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise WeightsError(f"{path}: {name} is a {type(value).__name__}, not a tensor")
    if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.device.type != "cpu":
        raise WeightsError(f"{path}: {name} is no plain tensor of numbers")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise WeightsError(f"{path}: {name} claims {value.numel()} numbers, more than the file holds")
    tensor = value.detach().to(torch.float32)
    if not tensor.isfinite().all():
        raise WeightsError(f"{path}: {name} holds a value that is not finite")
    return tensor


def check_sha256(path: str | PathLike[str], expected: str) -> None:
    """Raises WeightsError where the file is not the one with this SHA-256."""
    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if found != expected:
        raise WeightsError(f"{path}: has the SHA-256 {found[:16]}..., expected {expected[:16]}...: install it again")


def take(tensors: Tensors, name: str, shape: tuple[int, ...], source: str | PathLike[str]) -> Tensor:
    """The tensor `name`. Raises WeightsError, with the file that it is of, where it is absent or of another shape."""
    if name not in tensors:
        raise WeightsError(f"{source}: has no tensor {name}, expected with the shape {list(shape)}")
    found = tuple(tensors[name].shape)
    if found != shape:
        raise WeightsError(f"{source}: tensor {name} has the shape {list(found)}, expected {list(shape)}")
    return tensors[name]


def fill(module: nn.Module, tensors: Tensors, source: str | PathLike[str]) -> None:
    """Put tensors into a module, strictly: every weight of the module is there, in its shape, and there are no others.

    Counters of batches (num_batches_tracked) do not matter here and may be absent. Raises WeightsError.
    """
    wanted = {name: value for name, value in module.state_dict().items() if not is_counter(name)}
    filled = {name: take(tensors, name, tuple(value.shape), source) for name, value in wanted.items()}
    for name, value in tensors.items():
        if name not in wanted and not is_counter(name):
            raise WeightsError(f"{source}: tensor {name} {list(value.shape)} has no place in this network")
    module.load_state_dict(filled, strict=False)


def is_counter(name: str) -> bool:
    """Whether a tensor counts batches, and is no weight."""
    return name.endswith("num_batches_tracked")


def download(url: str) -> dict[str, Tensor]:
    """The tensors of a file on the internet, kept in torch's own cache. Raises WeightsError where that fails."""
    try:
        content = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as fault:
        raise WeightsError(not_downloaded(url, fault)) from None
    return dict(content)


def not_downloaded(source: str, fault: BaseException) -> str:
    """One line for a failed download: which file, from where, and what to do."""
    return (
        f"{source}: the download failed ({_first_line(fault)}); "
        "fetch this file on another machine and give its path as the trunk's weights"
    )


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The module that `build` makes, its random weights the same every time; torch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _first_line(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0][:160] if lines else type(fault).__name__
