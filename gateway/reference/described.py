"""A service's descriptors, resolved: its gRPC services, and their JSON bindings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from gateway.reference.comments import comments
from gateway.reference.paths import first_element


if TYPE_CHECKING:
    from gateway.model import Service

_VERBS = ("get", "put", "post", "delete", "patch")
OPERATIONS = frozenset(_VERBS) | {"head", "options", "trace"}
"""Methods that a path may have in OpenAPI 3.1."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP method and path of a gRPC method."""

    verb: str
    """In lower case, as OpenAPI has it."""

    template: str
    body: str
    response_body: str


@dataclass(frozen=True, slots=True)
class Described:
    """What a service says of itself, as far as it is offered."""

    services: tuple[ServiceDescriptor, ...] = ()
    comments: Mapping[str, str] = field(default_factory=dict)


def described(service: Service) -> Described:
    """
    Return what *service* offers; nothing if it has no descriptors.

    Raises:
        TypeError: The descriptors don't load; they are checked when a service is written.

    """
    if not service.descriptor_set:
        return Described()
    pool = descriptor_pool.DescriptorPool()
    told: dict[str, str] = {}
    offered: set[str] = set()
    for file in descriptor_pb2.FileDescriptorSet.FromString(service.descriptor_set).file:
        told.update(comments(file))
        prefix = f"{file.package}." if file.package else ""
        offered.update(prefix + one.name for one in file.service)
        file.ClearField("source_code_info")
        pool.AddSerializedFile(file.SerializeToString())
    return Described(
        tuple(pool.FindServiceByName(name) for name in service.grpc_services if name in offered),
        told,
    )


def bindings(method: MethodDescriptor, service: Service) -> Iterator[Binding]:
    """Yield how *method* is called as JSON: what is outside the service's areas isn't served."""
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    rule = options.Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        found = _binding(one)
        if (
            found is not None
            and found.verb in OPERATIONS
            and first_element(found.template) in service.json_prefixes
        ):
            yield found


def _binding(rule: Any) -> Binding | None:
    kind = rule.WhichOneof("pattern")
    if kind is None:
        return None
    if kind == "custom":
        verb, template = rule.custom.kind.lower(), rule.custom.path
    else:
        verb, template = kind, getattr(rule, kind)
    return Binding(verb, template, rule.body, rule.response_body)


def streaming(method: MethodDescriptor) -> str:
    """Return which side streams: `client`, `server`, `both`, or "" for a unary method."""
    if method.client_streaming:
        return "both" if method.server_streaming else "client"
    return "server" if method.server_streaming else ""
