"""What of `google.api.http` Envoy's transcoder takes, and then answers no call by."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

from gateway.compile.descriptors import merge


if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE = re.compile(r"\{([^}=]*)")
_WELL_KNOWN: Final = "google.protobuf."
"""Messages that are written as texts, such as a Timestamp."""


@functools.lru_cache(maxsize=128)
def misbound(descriptor_set: bytes, grpc_services: tuple[str, ...]) -> str:
    """
    Return what is wrong with the variables in the paths of these gRPC services; "": nothing.

    Args:
        descriptor_set: A serialised FileDescriptorSet that holds together.
        grpc_services: Full names of services that it describes.

    """
    pool = descriptor_pool.DescriptorPool()
    ordered = merge([descriptor_set])
    for file in descriptor_pb2.FileDescriptorSet.FromString(ordered).file:
        pool.AddSerializedFile(file.SerializeToString())
    for name in grpc_services:
        for method in pool.FindServiceByName(name).methods:
            for template in _templates(method):
                problem = _problem(template, method.input_type)
                if problem:
                    return f"{name}/{method.name}: {template}: {problem}"
    return ""


def _templates(method: Any) -> Iterator[str]:
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    rule = options.Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        kind = one.WhichOneof("pattern")
        if kind is not None:
            yield one.custom.path if kind == "custom" else getattr(one, kind)


def _problem(template: str, message: Any) -> str:
    paths = _VARIABLE.findall(template)
    for path in paths:
        *way, last = path.split(".")
        here = message
        for part in way:
            field = here.fields_by_name.get(part) if here is not None else None
            here = field.message_type if field is not None else None
        field = here.fields_by_name.get(last) if here is not None else None
        if field is None:
            return f"{message.full_name} has no field {path}"
        if field.is_repeated:
            return f"{path} is a list"
        if field.message_type and not field.message_type.full_name.startswith(_WELL_KNOWN):
            return f"{path} is a message"
    return "" if len(set(paths)) == len(paths) else "a variable is there twice"
