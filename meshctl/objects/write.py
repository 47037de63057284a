"""Objects as plain values and as YAML that `read` takes again."""

from __future__ import annotations

import json
from typing import Any

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from meshctl.objects.durations import duration_text


OUTPUTS = frozenset({"etag", "create_time", "update_time", "revision"})
"""What the gateway says of every kind, and nobody sets; an etag is for one reader's next write."""

OUTPUTS_OF = {"Certificate": frozenset({"domains", "expire_time"})}

DEFAULTS: dict[str, dict[str, Any]] = {
    "Endpoint": {"weight": 1, "health": "HEALTH_HEALTHY"},
    "Service": {
        "protocol": "PROTOCOL_HTTP2",
        "unary_timeout": "30s",
        "stream_idle_timeout": "15m",
    },
}
"""What the contract says of fields that are unset: not worth a line."""

WIDTH = 100


def plain(message: Message) -> dict[str, Any]:
    """*message* as plain values that are worth telling: no outputs, no defaults."""
    kind = message.DESCRIPTOR.name
    hidden = OUTPUTS | OUTPUTS_OF.get(kind, frozenset())
    defaults = dict(DEFAULTS.get(kind, {}))
    if kind == "Service":
        defaults["identity"] = str(getattr(message, "name", "")).partition("/")[2]
    made = {}
    for field, value in message.ListFields():
        if field.name in hidden:
            continue
        told = [_plain(field, one) for one in value] if field.is_repeated else _plain(field, value)
        if defaults.get(field.name) != told:
            made[field.name] = told
    return made


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Duration):
        return duration_text(value)
    if isinstance(value, Timestamp):
        return value.ToJsonString()
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value


class _Dumper(yaml.SafeDumper):
    """Lists stand in, texts of several lines are blocks, and short things stand on one line."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    """Blocks where they fit; where anything isn't plain to see, escapes."""
    style = None
    if not all(one.isprintable() for one in value):
        lines = value.split("\n")
        fits = all(line == line.rstrip() and line.isprintable() for line in lines)
        style = "|" if fits and len(lines) > 1 else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def as_yaml(value: Any) -> str:
    """Plain values as YAML."""
    _Dumper.add_representer(str, _text)
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return text


def in_a_line(value: Any) -> str:
    """A plain value on one line, for people."""
    if isinstance(value, str):
        return value if value and value.isprintable() else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return f"({size(len(value))})"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(in_a_line, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {in_a_line(one)}" for name, one in value.items()) + "}"
    return str(value)


def size(number: int) -> str:
    """A number of bytes, for people."""
    return f"{number / 1024:.1f} KiB" if number >= 1024 else f"{number} bytes"
