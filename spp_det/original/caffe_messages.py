"""The few protobuf messages that hold the weights in a .caffemodel, made in code; all other fields are left unread.

Numbers and types are those of Caffe's caffe.proto. What may be long, or may be many, is `bytes` here, so that it is
parsed one at a time and after its count is known; names are bytes too, since old files may hold any.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

_PACKAGE = "spp_det.caffe"
_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bytes": _FIELD.TYPE_BYTES,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "bool": _FIELD.TYPE_BOOL,
    "float": _FIELD.TYPE_FLOAT,
    "double": _FIELD.TYPE_DOUBLE,
}

# message: {field: (number, type)}; [type] is a repeated field, packed or not, and a message's name a field of that
_MESSAGES: dict[str, dict[str, tuple[int, str | list[str]]]] = {
    "Net": {"layers": (2, ["bytes"]), "layer": (100, ["bytes"])},
    # NetParameter.layers: of 2013, with the layer itself in field 1, or V1LayerParameter
    "OldLayer": {"layer": (1, "OldestLayer"), "name": (4, "bytes"), "type": (5, "int32"), "blobs": (6, ["bytes"])},
    "OldestLayer": {"name": (1, "bytes"), "type": (2, "bytes"), "blobs": (50, ["bytes"])},
    # NetParameter.layer
    "Layer": {
        "name": (1, "bytes"),
        "type": (2, "bytes"),
        "blobs": (7, ["bytes"]),
        "inner_product_param": (117, "InnerProduct"),
    },
    "InnerProduct": {"transpose": (6, "bool")},
    "Blob": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, ["float"]),
        "shape": (7, "Shape"),
        "double_data": (8, ["double"]),
    },
    "Shape": {"dim": (1, ["int64"])},
}


def parse(name: str, content: bytes) -> Any:
    """The message `name` from its bytes. Raises google.protobuf.message.DecodeError for bytes that are none."""
    return _classes()[name].FromString(content)


@lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="spp_det/caffe.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()  # our own: another package's caffe.proto is none of our business
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add_field(message: Any, name: str, number: int, kind: str | list[str]) -> None:
    repeated = isinstance(kind, list)
    type_name = kind[0] if isinstance(kind, list) else kind
    field = message.field.add(name=name, number=number)
    field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    field.type = _TYPES.get(type_name, _FIELD.TYPE_MESSAGE)
    if type_name not in _TYPES:
        field.type_name = f".{_PACKAGE}.{type_name}"
