"""
A service of the catalog as an OpenAPI 3.1 document: a pure function of what is registered.

What is in it is what the edge serves. Methods that have a JSON binding are there under their
paths; the others under `/{gRPC service}/{method}`, as gRPC and gRPC-Web call them.

https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import status_pb2

from gateway.compile.changes import lifecycle_headers
from gateway.reference.comments import summary
from gateway.reference.described import Described, bindings, described
from gateway.reference.operations import JSON, STATUS, Operations, identifier
from gateway.reference.schemas import Schemas
from meshkit.tokens import KEY_HEADER


if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Access, Lifecycle, Route, Service
    from gateway.reference.paths import Path

VERSION: Final = "3.1.0"
_SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}, {"apiKey": []}]
_VERSION: Final = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]*)?")
_ERROR: Final = (
    "What went wrong, as gRPC tells it: a code, words, and details such as "
    "`google.rpc.ErrorInfo` with a reason that never changes."
)


def document(service: Service, routes: Sequence[Route] = ()) -> dict[str, Any]:
    """
    Return the OpenAPI document of *service*.

    Args:
        routes: Its routes, the more particular first: they say who may call a method.

    """
    found = described(service)
    schemas = Schemas(found.comments)
    schemas.message(status_pb2.Status.DESCRIPTOR)
    paths = _Paths(Operations(schemas, found.comments), service, routes)
    for offered in found.services:
        for method in offered.methods:
            paths.add(method)
    return {
        "openapi": VERSION,
        "info": _info(service),
        "servers": [{"url": "/"}],
        "tags": [_tag(name, service, found) for name in service.grpc_services],
        "paths": paths.made,
        "components": {
            "schemas": dict(sorted(schemas.made.items())),
            "responses": {"Error": _error()},
            "securitySchemes": _security_schemes(),
        },
        "security": _SECURITY,
    }


class _Paths:
    """`paths` of a document."""

    def __init__(self, operations: Operations, service: Service, routes: Sequence[Route]) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self._operations = operations
        self._service = service
        self._routes = routes
        self._shapes: dict[str, Path] = {}

    def add(self, method: MethodDescriptor) -> None:
        """Add all ways to call *method*."""
        common = self._common(method)
        ways = [
            (one.verb, *self._operations.bound(method, one))
            for one in bindings(method, self._service)
        ] or [("post", *self._operations.unbound(method))]
        for number, (verb, path, operation) in enumerate(ways):
            # Two paths that differ in the names of parameters only are one to OpenAPI.
            text = self._shapes.setdefault(path.shape, path).text
            if text != path.text:
                _rename(operation, path, self._shapes[path.shape])
            name = identifier(operation["operationId"])
            operation["operationId"] = f"{name}_{number + 1}" if number else name
            self.made.setdefault(text, {}).setdefault(verb, _with(operation, common))

    def _common(self, method: MethodDescriptor) -> dict[str, Any]:
        """Return what the catalog, not the descriptors, says of a method."""
        offered = method.containing_service.full_name
        access = self._access(offered, method.name)
        made: dict[str, Any] = {}
        if access.public:
            made["security"] = [{}, *_SECURITY]
        elif access.roles:
            made["x-roles"] = list(access.roles)
        ending = lifecycle_of(self._service, offered)
        if ending is not None:
            made |= {"deprecated": True, "x-lifecycle": _lifecycle(ending)}
        return made

    def _access(self, grpc_service: str, method: str) -> Access:
        for route in self._routes:
            fits = route.grpc_service == grpc_service and route.grpc_method in ("", method)
            if fits and not route.headers:
                return route.access or self._service.access
        return self._service.access


def lifecycle_of(service: Service, grpc_service: str) -> Lifecycle | None:
    """Return how a gRPC service is on its way out, if it is."""
    return next((one for one in service.lifecycles if one.grpc_service == grpc_service), None)


def version(service: Service) -> str:
    """Return the versions in the packages of what is offered, such as `v1, v2`."""
    words = (word for name in service.grpc_services for word in name.split(".")[:-1])
    return ", ".join(sorted({word for word in words if _VERSION.fullmatch(word)})) or "unversioned"


def _info(service: Service) -> dict[str, Any]:
    made = {"title": service.id, "version": version(service)}
    return made | ({"description": service.description} if service.description else {})


def _tag(name: str, service: Service, found: Described) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name}
    said = found.comments.get(name, "")
    if said:
        made["description"] = said
    ending = lifecycle_of(service, name)
    if ending is not None:
        made |= {"x-deprecated": True, "x-lifecycle": _lifecycle(ending)}
    elif any(one.full_name == name and one.GetOptions().deprecated for one in found.services):
        made["x-deprecated"] = True
    return made


def _lifecycle(ending: Lifecycle) -> dict[str, str]:
    times = {"deprecateTime": ending.deprecate_time, "sunsetTime": ending.sunset_time}
    told = {name: time.isoformat() for name, time in times.items() if time is not None}
    said = {"successor": ending.successor, "link": ending.link}
    return told | {name: text for name, text in said.items() if text}


def _with(operation: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    made = {**operation, **common}
    ending = common.get("x-lifecycle")
    if ending is not None:
        answer = made["responses"]["200"]
        answer["headers"] = {
            name: {"description": said, "schema": {"type": "string"}}
            for name, said in lifecycle_headers().items()
        }
    return made


def _rename(operation: dict[str, Any], path: Path, known: Path) -> None:
    """Have the parameters of *path* the names that the same path has already."""
    for one, other in zip(path.parameters, known.parameters, strict=True):
        for parameter in operation["parameters"]:
            if parameter["in"] == "path" and parameter["name"] == one.name:
                parameter["name"] = other.name
                break


def _error() -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{STATUS}"}
    return {"description": _ERROR, "content": {JSON: {"schema": schema}}}


def _security_schemes() -> dict[str, Any]:
    return {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "apiKey": {"type": "apiKey", "in": "header", "name": KEY_HEADER},
    }


def entry(service: Service) -> dict[str, Any]:
    """Return what the index says of *service*."""
    found = described(service)
    known = {one.full_name: one for one in found.services}
    made: dict[str, Any] = {
        "name": service.id,
        "description": service.description,
        "version": version(service),
        "url": f"/openapi/{service.id}.json",
        "grpcServices": [
            _offered(name, known.get(name), service, found) for name in service.grpc_services
        ],
    }
    return made


def index(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the index: a document without paths that names all others."""
    return {
        "openapi": VERSION,
        "info": {
            "title": "API reference",
            "version": "1",
            "description": "Every service that is registered, each with a document of its own.",
        },
        "paths": {},
        "x-services": list(entries),
    }


def _offered(
    name: str, kind: ServiceDescriptor | None, service: Service, found: Described
) -> dict[str, Any]:
    made = _tag(name, service, found)
    made.pop("description", None)
    if short := summary(found.comments.get(name, "")):
        made["summary"] = short
    if kind is not None:
        made["methods"] = [_method(one, service, found) for one in kind.methods]
    return made


def _method(method: MethodDescriptor, service: Service, found: Described) -> dict[str, Any]:
    made: dict[str, Any] = {"name": method.name}
    if short := summary(found.comments.get(method.full_name, "")):
        made["summary"] = short
    if http := list(_http(method, service)):
        made["http"] = http
    if method.GetOptions().deprecated:
        made["deprecated"] = True
    return made


def _http(method: MethodDescriptor, service: Service) -> Iterator[str]:
    for one in bindings(method, service):
        yield f"{one.verb.upper()} {one.template}"
