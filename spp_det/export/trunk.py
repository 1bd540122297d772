"""A trunk's layers as an ONNX graph, by torch's exporter."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings

import onnx
import torch
from torch import nn

from spp_det.export.graph import OPSET
from spp_det.networks import Trunk
from spp_det.networks.convolution import PointwiseConv2d

SAMPLE = (96, 128)  # pixels of the image that is followed through the layers; its size does not matter


def trunk_model(trunk: Trunk) -> onnx.ModelProto:
    """The graph of a trunk's layers in float32, for inputs of any height and width.

    image: float32 [B, 3, H, W], preprocessed and padded; map: float32 [B, C, h, w].
    """
    body = copy.deepcopy(trunk.body).float().cpu().eval()
    for layer in body.modules():
        if type(layer) is PointwiseConv2d:
            layer.__class__ = nn.Conv2d  # type: ignore[assignment]  # ONNX knows no call to oneDNN
    sample = torch.zeros(2, 3, *trunk.padded_size(SAMPLE))  # two images, or the exporter would take one for all cases
    free = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            body,
            (sample,),
            dynamo=True,
            dynamic_shapes=({0: free, 2: free, 3: free},),
            input_names=["image"],
            output_names=["map"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _name_sides(model.graph.input[0], ("B", 3, "H", "W"))
    _name_sides(model.graph.output[0], ("B", trunk.out_channels, "h", "w"))
    del model.graph.value_info[:]  # shapes under the exporter's own names
    return model


def _name_sides(value: onnx.ValueInfoProto, sides: tuple[str | int, ...]) -> None:
    for dimension, side in zip(value.type.tensor_type.shape.dim, sides, strict=True):
        if isinstance(side, int):
            dimension.dim_value = side
        else:
            dimension.dim_param = side
