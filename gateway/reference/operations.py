"""gRPC methods as operations of OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.reference.comments import summary
from gateway.reference.described import Binding, streaming
from gateway.reference.paths import Path, spelt_out
from gateway.reference.schemas import WELL_KNOWN, Schema, Schemas, is_map, is_required


if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import MethodDescriptor

QUERY_DEPTH_MAX: Final = 4
QUERY_PARAMETERS_MAX: Final = 200

JSON: Final = "application/json"
GRPC: Final = "application/grpc+proto"
STATUS: Final = "google.rpc.Status"
_BODY: Final = "google.api.HttpBody"
_BINARY: Final[Schema] = {"type": "string", "contentMediaType": "application/octet-stream"}
_IN_QUERY: Final = frozenset(WELL_KNOWN) - {
    "google.protobuf.Struct",
    "google.protobuf.Value",
    "google.protobuf.ListValue",
    "google.protobuf.Any",
    "google.protobuf.Empty",
}
"""Messages that one query parameter can say."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")


class Operations:
    """Makes operations; the schemas that they refer to go to *schemas*."""

    def __init__(self, schemas: Schemas, comments: Mapping[str, str]) -> None:
        self._schemas = schemas
        self._comments = comments

    def bound(self, method: MethodDescriptor, binding: Binding) -> tuple[Path, dict[str, Any]]:
        """Return the path and the operation of a method that is called as JSON."""
        path = spelt_out(binding.template)
        kind = method.input_type
        parameters = [self._in_path(kind, path, number) for number in range(len(path.parameters))]
        if binding.body != "*":
            taken = path.fields() | ({binding.body} if binding.body else set())
            parameters += self._in_query(kind, taken)
        made = self._about(method) | {"responses": self._responses(method, binding)}
        if parameters:
            made["parameters"] = parameters
        if binding.body:
            made["requestBody"] = self._body(method, binding)
        return path, made

    def unbound(self, method: MethodDescriptor) -> tuple[Path, dict[str, Any]]:
        """Return the path and the operation of a method that is called by gRPC and gRPC-Web."""
        made = self._about(method) | {
            "x-grpc-only": True,
            "requestBody": {
                "required": True,
                "content": {GRPC: {"schema": self._schemas.message(method.input_type)}},
            },
            "responses": {
                "200": {
                    "description": _answer(method),
                    "content": {GRPC: {"schema": self._schemas.message(method.output_type)}},
                }
            },
        }
        assert method.containing_service is not None, "every method is a service's"
        return Path(f"/{method.containing_service.full_name}/{method.name}", ()), made

    def _about(self, method: MethodDescriptor) -> dict[str, Any]:
        service = method.containing_service
        said = self._comments.get(method.full_name, "")
        made: dict[str, Any] = {
            "operationId": f"{service.full_name}.{method.name}",
            "tags": [service.full_name],
            "x-grpc-method": f"{service.full_name}/{method.name}",
        }
        if said:
            made["description"] = said
            made |= {"summary": short} if (short := summary(said)) else {}
        if streams := streaming(method):
            made["x-streaming"] = streams
        if method.GetOptions().deprecated or service.GetOptions().deprecated:
            made["deprecated"] = True
        return made

    def _in_path(self, kind: Descriptor, path: Path, number: int) -> dict[str, Any]:
        one = path.parameters[number]
        field = field_at(kind, one.field)
        schema: Schema
        if one.pattern or field is None:
            schema = {"type": "string", "pattern": "^.+$" if one.rest else "^[^/]+$"}
        else:
            schema = self._schemas.field(field)
        said = schema.pop("description", "")
        if one.pattern:
            said = f"Part of `{one.field}`, which is `{one.pattern}`."
        made: dict[str, Any] = {"name": one.name, "in": "path", "required": True, "schema": schema}
        if one.rest:
            said = f"{said} May hold slashes.".strip()
        return made | ({"description": said} if said else {})

    def _in_query(self, kind: Descriptor, taken: frozenset[str] | set[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for name, fields in _leaves(kind, "", ()):
            if name in taken or any(name.startswith(f"{one}.") for one in taken):
                continue
            schema = self._schemas.field(fields[-1])
            made: dict[str, Any] = {
                "name": ".".join(field.json_name for field in fields),
                "in": "query",
                "schema": schema,
            }
            said = schema.pop("description", "")
            made |= {"description": said} if said else {}
            if all(is_required(field) for field in fields):
                made["required"] = True
            if schema.pop("deprecated", False):
                made["deprecated"] = True
            found.append(made)
            if len(found) == QUERY_PARAMETERS_MAX:
                break
        return found

    def _body(self, method: MethodDescriptor, binding: Binding) -> dict[str, Any]:
        content = self._content(method.input_type, binding.body)
        if not method.client_streaming:
            return {"required": True, "content": content}
        for one in content.values():
            one["schema"] = {"type": "array", "items": one["schema"]}
        return {
            "required": True,
            "description": "An array with one document for each message of the stream.",
            "content": content,
        }

    def _responses(self, method: MethodDescriptor, binding: Binding) -> dict[str, Any]:
        return {
            "200": {
                "description": _answer(method),
                "content": self._content(method.output_type, binding.response_body),
            },
            "default": {"$ref": "#/components/responses/Error"},
        }

    def _content(self, kind: Descriptor, field: str) -> dict[str, Any]:
        """Return a body that is *kind*, or only that field of it; "" and `*`: all of it."""
        found = field_at(kind, field) if field not in ("", "*") else None
        whole = found.message_type if found is not None else kind
        if whole is not None and whole.full_name == _BODY:
            return {"*/*": {"schema": dict(_BINARY)}}
        schema = self._schemas.message(kind) if found is None else self._schemas.field(found)
        return {JSON: {"schema": schema}}


def field_at(message: Descriptor, path: str) -> FieldDescriptor | None:
    """Return the field at a path of fields' own names."""
    here: Descriptor | None = message
    found: FieldDescriptor | None = None
    for name in path.split("."):
        found = here.fields_by_name.get(name) if here is not None else None
        if found is None:
            return None
        here = found.message_type
    return found


def identifier(text: str) -> str:
    """Return *text* as far as an id of an operation may have it."""
    return "_".join(_PLAIN.findall(text))


def _answer(method: MethodDescriptor) -> str:
    if method.server_streaming:
        return "One JSON document a line, as they come; gRPC: a stream of messages."
    return "The answer."


def _leaves(
    kind: Descriptor, prefix: str, above: Sequence[FieldDescriptor]
) -> Iterator[tuple[str, tuple[FieldDescriptor, ...]]]:
    """Yield the fields that a query can say, with the path to each; none holds itself."""
    for field in kind.fields:
        name, here = f"{prefix}{field.name}", (*above, field)
        inner = field.message_type
        if inner is None or inner.full_name in _IN_QUERY:
            yield name, here
        elif is_map(field) or field.is_repeated or inner.full_name in WELL_KNOWN:
            continue
        elif len(here) < QUERY_DEPTH_MAX and inner is not kind and not _holds(above, inner):
            yield from _leaves(inner, f"{name}.", here)


def _holds(above: Sequence[FieldDescriptor], kind: Descriptor) -> bool:
    return any(field.message_type is kind or field.containing_type is kind for field in above)
