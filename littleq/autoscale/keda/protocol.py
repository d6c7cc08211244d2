"""KEDA's external scaler protocol, as data.

The messages are made when this is imported, not by generated code: that is bound to the releases of protobuf that it
was generated for, and a fleet has others. Names and numbers are those of `externalscaler.proto` of KEDA 2; a test
speaks to the service with a client that is compiled from a .proto file.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "externalscaler"
SERVICE: Final = f"{PACKAGE}.ExternalScaler"

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "int64": _Field.TYPE_INT64,
    "double": _Field.TYPE_DOUBLE,
}
#: Fields by message, numbered from 1; `repeated` and `map` as in a .proto file.
_MESSAGES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "ScaledObjectRef": (
        ("string", "name"),
        ("string", "namespace"),
        ("map", "scalerMetadata"),
    ),
    "IsActiveResponse": (("bool", "result"),),
    "MetricSpec": (("string", "metricName"), ("int64", "targetSize"), ("double", "targetSizeFloat")),
    "GetMetricSpecResponse": (("repeated MetricSpec", "metricSpecs"),),
    "GetMetricsRequest": (("ScaledObjectRef", "scaledObjectRef"), ("string", "metricName")),
    "MetricValue": (("string", "metricName"), ("int64", "metricValue"), ("double", "metricValueFloat")),
    "GetMetricsResponse": (("repeated MetricValue", "metricValues"),),
}


def _add_field(message: Any, kind: str, name: str, number: int) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _Field.TYPE_MESSAGE
    if kind != "map":
        field.type_name = f".{PACKAGE}.{kind.removeprefix('repeated ')}"
        if kind.startswith("repeated "):
            field.label = _Field.LABEL_REPEATED
        return
    entry = f"{name[0].upper()}{name[1:]}Entry"  # as protoc names it: a map is a list of such pairs
    pair = message.nested_type.add(name=entry)
    pair.options.map_entry = True
    _add_field(pair, "string", "key", 1)
    _add_field(pair, "string", "value", 2)
    field.type_name, field.label = f".{PACKAGE}.{message.name}.{entry}", _Field.LABEL_REPEATED


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="littleq/externalscaler.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (kind, field) in enumerate(fields, start=1):
            _add_field(message, kind, field, number)
    # A pool of our own: another library of the process may have the same package.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES: Final = _classes()
ScaledObjectRef: Final = _CLASSES["ScaledObjectRef"]
IsActiveResponse: Final = _CLASSES["IsActiveResponse"]
MetricSpec: Final = _CLASSES["MetricSpec"]
GetMetricSpecResponse: Final = _CLASSES["GetMetricSpecResponse"]
GetMetricsRequest: Final = _CLASSES["GetMetricsRequest"]
MetricValue: Final = _CLASSES["MetricValue"]
GetMetricsResponse: Final = _CLASSES["GetMetricsResponse"]
