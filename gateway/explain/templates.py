"""`google.api.http` paths, matched as Envoy's transcoder matches them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor


_VERBS = ("get", "put", "post", "delete", "patch")
_ANY_METHOD = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One HTTP method and path of a gRPC method."""

    grpc_method: str
    """`package.Service/Method`."""

    input_type: Descriptor
    body: str
    template: str
    variables: tuple[tuple[str, int, int], ...]
    """Field path, and where its segments begin and end; an end of -1 is the path's."""


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    bindings: dict[str, Binding] = field(default_factory=dict)
    rest: dict[str, Binding] = field(default_factory=dict)
    """Of paths that go on in any way: the `**` ends here."""


class Templates:
    """
    The JSON API of some gRPC services.

    Args:
        descriptors: A serialised FileDescriptorSet.
        services: Full names of the gRPC services that have a JSON API.

    """

    def __init__(self, descriptors: bytes, services: Sequence[str]) -> None:
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
            pool.AddSerializedFile(file.SerializeToString())
        self._root = _Node()
        self._custom_verbs: set[str] = set()
        for name in services:
            for method in pool.FindServiceByName(name).methods:
                rule = _rule(method)
                for verb, template, body in _rules(rule):
                    self._add(verb, template, body, f"{name}/{method.name}", method.input_type)

    def find(self, method: str, path: str) -> tuple[Binding, list[tuple[str, str]]] | None:
        """Return the binding of a path without query, and its variables' values as they stand."""
        parts, verb = self._parts(path)
        binding = _look(self._root, parts, _key(method, verb), _key(_ANY_METHOD, verb))
        if binding is None:
            return None
        values = [
            (name, "/".join(parts[start : len(parts) if end < 0 else end]))
            for name, start, end in binding.variables
        ]
        return binding, values

    def _parts(self, path: str) -> tuple[list[str], str]:
        """Return the segments, and the verb if it is one that some template has."""
        colon, slash = path.rfind(":"), path.rfind("/")
        verb = path[colon + 1 :] if colon > slash else ""
        if verb in self._custom_verbs:
            path = path[:colon]
        else:
            verb = ""
        parts = path[1:].split("/")
        while parts and not parts[-1]:
            parts.pop()
        return parts, verb

    def _add(
        self, method: str, template: str, body: str, grpc_method: str, input_type: Descriptor
    ) -> None:
        segments, variables, verb = _parse(template)
        if verb:
            self._custom_verbs.add(verb)
        key = _key(method, verb)
        binding = Binding(
            grpc_method=grpc_method,
            input_type=input_type,
            body=body,
            template=template,
            variables=tuple(variables),
        )
        node = self._root
        for segment in segments:
            if segment == "**":
                node.rest[key] = binding
                return
            node = node.children.setdefault(segment, _Node())
        node.bindings[key] = binding


def _key(method: str, verb: str) -> str:
    return f"{method}:{verb}" if verb else method


def _look(node: _Node, parts: Sequence[str], *keys: str) -> Binding | None:
    """Literals come before `*`, and that before `**`."""
    if parts:
        for segment in (parts[0], "*"):
            child = node.children.get(segment)
            found = _look(child, parts[1:], *keys) if child else None
            if found is not None:
                return found
    else:
        for key in keys:
            if key in node.bindings:
                return node.bindings[key]
    return next((node.rest[key] for key in keys if key in node.rest), None)


def _parse(template: str) -> tuple[list[str], list[tuple[str, int, int]], str]:
    """Return the segments, the variables in them, and the custom verb."""
    verb = ""
    colon = template.rfind(":")
    if colon > template.rfind("}") and colon > template.rfind("/"):
        template, verb = template[:colon], template[colon + 1 :]
    segments: list[str] = []
    variables: list[tuple[str, int, int]] = []
    rest = template[1:]
    while rest:
        if rest.startswith("{"):
            inner, _, rest = rest[1:].partition("}")
            name, _, pattern = inner.partition("=")
            start = len(segments)
            segments += (pattern or "*").split("/")
            end = -1 if segments[-1] == "**" else len(segments)
            variables.append((name, start, end))
            rest = rest.removeprefix("/")
        else:
            segment, _, rest = rest.partition("/")
            segments.append(segment)
    return segments, variables, verb


def _rule(method: Any) -> Any:
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    return options.Extensions[annotations_pb2.http]


def _rules(rule: Any) -> Iterator[tuple[str, str, str]]:
    for one in (rule, *rule.additional_bindings):
        kind = one.WhichOneof("pattern")
        if kind == "custom":
            yield one.custom.kind, one.custom.path, one.body
        elif kind in _VERBS:
            yield kind.upper(), getattr(one, kind), one.body


def field_at(message: Descriptor, path: str) -> FieldDescriptor | None:
    """Return the field that a query parameter names, by its own or its JSON name."""
    here: Descriptor | None = message
    found: FieldDescriptor | None = None
    for name in path.split("."):
        if here is None:
            return None
        found = here.fields_by_name.get(name) or here.fields_by_camelcase_name.get(name)
        if found is None:
            return None
        here = found.message_type
    return found
