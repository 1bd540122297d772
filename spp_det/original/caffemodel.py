"""Weights out of a .caffemodel without Caffe, in its three forms: of 2013, of 2014 (`layers`) and since (`layer`).

Names and meaning of what comes out: docs/original-files.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from spp_det.errors import WeightsError
from spp_det.files import write_whole
from spp_det.original.caffe_messages import parse

MAX_BYTES = (2 << 30) - 1  # of a file; a protobuf message can have no more
MAX_LAYERS = 10_000
MAX_BLOBS = 100  # of one layer
_MAX_AXES = 32  # as Caffe has it

_CONVOLUTIONS = ("Convolution", "conv", 4)  # the type's name now, its name in 2013, its number in 2014
_INNER_PRODUCTS = ("InnerProduct", "innerproduct", 14)
_LEGACY_AXES = ("num", "channels", "height", "width")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Layer:
    """A layer in any of the three forms. kind: its type, a name or the number of 2014."""

    name: str
    kind: str | int
    blobs: list[bytes]
    transposed: bool = False


def read_caffemodel(path: str | PathLike[str]) -> dict[str, Floats]:
    """The weights of a network, float32 by name, in the file's order.

    A convolution `conv1` gives conv1.weight [out, in / groups, height, width] and conv1.bias [out], an inner product
    `fc6` gives fc6.weight [out, in] and fc6.bias [out]; a layer of another type gives NAME.blob0, NAME.blob1 ... in
    their shapes. Nothing is reordered: channels of the image, and inputs of fc6, are as the network was trained.

    Raises WeightsError, one line with the file, the layer and the fault, where the file is missing, larger than
    MAX_BYTES, cut short or of another kind; a blob's shape does not fit its numbers; a number is not finite; or
    there are more layers than MAX_LAYERS, two of one name with weights, or none with weights.
    """
    path = Path(path)
    tensors: dict[str, Floats] = {}
    for layer in _layers(path):
        for name, array in _tensors(path, layer).items():
            if name in tensors:
                raise _fault(path, layer.name, "stands in the file twice")
            tensors[name] = array
    if not tensors:
        raise WeightsError(f"{path}: holds no layer with weights; is it a .caffemodel?")
    return tensors


def convert_caffemodel(path: str | PathLike[str], out: str | PathLike[str]) -> dict[str, Floats]:
    """Write what `read_caffemodel` reads as safetensors, whole or absent, and return it. Equal files, equal bytes.

    Its metadata has one key, "caffe", with JSON: the source's name and SHA-256, and in which order inputs are.
    """
    tensors = read_caffemodel(path)
    facts = {
        "source": Path(path).name,
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        "image_channels": "BGR, 0 .. 255, less the network's mean",
        "fc_inputs": "channel, row, column; of a spatial pyramid level by level, each so, in the network's order",
    }
    metadata = {"caffe": json.dumps(facts)}  # one key: safetensors writes several in any order
    write_whole(Path(out), safetensors.numpy.save(tensors, metadata))
    return tensors


def _layers(path: Path) -> Iterator[_Layer]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{path}: has more than {(MAX_BYTES + 1) >> 30} GiB, which no .caffemodel can have")
        net = parse("Net", path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{path}: there is no such file") from None
    except DecodeError:
        raise WeightsError(f"{path}: is no .caffemodel, or is cut short") from None
    count = len(net.layers) + len(net.layer)
    if count > MAX_LAYERS:
        raise WeightsError(f"{path}: claims {count} layers; at most {MAX_LAYERS} are read")
    for number, content in enumerate([*net.layers, *net.layer], 1):
        try:
            layer = _new_layer(content) if number > len(net.layers) else _old_layer(content)
        except DecodeError:
            raise WeightsError(f"{path}: layer {number} of {count} is damaged") from None
        except UnicodeDecodeError:
            raise WeightsError(f"{path}: layer {number} of {count} has a name or type that is no text") from None
        if len(layer.blobs) > MAX_BLOBS:
            raise _fault(path, layer.name, f"claims {len(layer.blobs)} blobs; at most {MAX_BLOBS} are read")
        yield layer


def _new_layer(content: bytes) -> _Layer:
    layer = parse("Layer", content)
    return _Layer(layer.name.decode(), layer.type.decode(), list(layer.blobs), layer.inner_product_param.transpose)


def _old_layer(content: bytes) -> _Layer:
    layer = parse("OldLayer", content)
    if layer.HasField("layer"):
        return _Layer(layer.layer.name.decode(), layer.layer.type.decode(), list(layer.layer.blobs))
    return _Layer(layer.name.decode(), layer.type, list(layer.blobs))


def _tensors(path: Path, layer: _Layer) -> dict[str, Floats]:
    """The weights of one layer by their names."""
    if layer.blobs and not layer.name:
        raise WeightsError(f"{path}: a layer with weights has no name")
    arrays = [_blob(path, layer.name, index, content) for index, content in enumerate(layer.blobs)]
    if layer.kind not in (*_CONVOLUTIONS, *_INNER_PRODUCTS):
        return {f"{layer.name}.blob{index}": array for index, array in enumerate(arrays)}
    if len(arrays) > 2:
        raise _fault(path, layer.name, f"has {len(arrays)} blobs where a weight and a bias belong")
    if arrays and layer.kind in _INNER_PRODUCTS:
        arrays[0] = _matrix(path, layer, arrays[0])
    if len(arrays) == 2:
        arrays[1] = arrays[1].reshape(-1)  # [1, 1, 1, out] in old files
        if arrays[0].shape[0] != len(arrays[1]):
            shapes = " and ".join(str(list(array.shape)) for array in arrays)
            raise _fault(path, layer.name, f"has a weight and a bias of the shapes {shapes}, which do not fit")
    return {f"{layer.name}.{part}": array for part, array in zip(("weight", "bias"), arrays, strict=False)}


def _matrix(path: Path, layer: _Layer, weight: Floats) -> Floats:
    """[out, in] of an inner product's weight, which is [1, 1, out, in] in old files and may be stored [in, out]."""
    if weight.ndim < 2 or prod(weight.shape[:-2]) != 1:
        raise _fault(path, layer.name, f"has a weight of the shape {list(weight.shape)}, which is no matrix")
    matrix = weight.reshape(weight.shape[-2:])
    return np.ascontiguousarray(matrix.T) if layer.transposed else matrix


def _blob(path: Path, layer: str, index: int, content: bytes) -> Floats:
    try:
        blob = parse("Blob", content)
    except DecodeError:
        raise _fault(path, layer, f"has a damaged blob {index}") from None
    shape = _shape(blob)
    numbers = blob.double_data if len(blob.double_data) else blob.data
    if len(shape) > _MAX_AXES or min(shape, default=1) < 0 or prod(shape) != len(numbers) or not len(numbers):
        claimed = f"the shape {list(shape[:_MAX_AXES])}"
        raise _fault(path, layer, f"has blob {index} of {claimed} with {len(numbers)} numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # a double beyond float32 is not finite below
        array = np.array(numbers, np.float32).reshape(shape)
    if not np.isfinite(array).all():
        raise _fault(path, layer, f"has a number in blob {index} that is not finite")
    return array


def _shape(blob: Any) -> tuple[int, ...]:
    """Caffe's rule: any of the four old fields, those that are absent being 0, goes before the list of axes."""
    if any(blob.HasField(axis) for axis in _LEGACY_AXES):
        return tuple(getattr(blob, axis) for axis in _LEGACY_AXES)
    return tuple(blob.shape.dim)


def _fault(path: Path, layer: str, fault: str) -> WeightsError:
    return WeightsError(f"{path}: layer {layer!r} {fault}")
