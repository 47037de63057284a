"""
From YAML's nodes to messages, by the contract: every value keeps its place.

A node is read as what its field is, so that nobody needs to know how YAML sees `yes` or `1.10`.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from meshctl.objects.durations import duration_of
from meshctl.objects.names import near
from meshctl.objects.places import Place, Problems


FILE_BYTES_MAX = 4 * 1024 * 1024
NULLS = ("", "~", "null", "Null", "NULL")
NUMBERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
DURATION, TIMESTAMP = "google.protobuf.Duration", "google.protobuf.Timestamp"

Special = Callable[["Reader", yaml.Node], "bytes | None"]


class _Bad(Exception):
    """A value that its field can't take."""


@dataclass(slots=True, kw_only=True)
class Reader:
    """Reads one document."""

    file: str
    folder: Path
    """What paths in it are relative to."""

    problems: Problems
    places: dict[str, Place]
    """Path of each field met to where it stands; "" is the object."""

    specials: Mapping[str, Special]
    """Fields with ways of their own to be written, by name."""

    environment: Mapping[str, str]

    def place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1)

    def fill(self, message: Message, node: yaml.Node, path: str = "") -> None:
        """Write what *node* says into *message*, and note what can't be."""
        self.places.setdefault(path, self.place(node))
        if not isinstance(node, yaml.MappingNode):
            self.problems.add(
                self.place(node), f"{path or 'an object'} needs fields, `name: value`"
            )
            return
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "(not a name)"
            inner = f"{path}.{name}" if path else name
            field: Any = message.DESCRIPTOR.fields_by_name.get(name)
            place = self.place(key)
            self.places[inner] = place
            if field is None:
                known = list(message.DESCRIPTOR.fields_by_name)
                what = f"{message.DESCRIPTOR.name} has no field {name}{near(name, known)}"
                self.problems.add(place, what)
            elif name in seen:
                self.problems.add(place, f"{inner} is there twice")
            elif (other := _other_of_oneof(message, field)) is not None:
                self.problems.add(place, f"{inner} and {other} exclude each other")
            else:
                self._field(message, field, value, inner)
            seen.add(name)

    def _field(self, message: Message, field: FieldDescriptor, node: yaml.Node, path: str) -> None:
        if _is_null(node):
            return
        if not field.is_repeated:
            self._single(message, field, node, path)
            return
        if not isinstance(node, yaml.SequenceNode):
            self.problems.add(self.place(node), f"{path} is a list: `- ...` or `[...]`")
            return
        items = getattr(message, field.name)
        for number, item in enumerate(node.value):
            at = f"{path}[{number}]"
            self.places[at] = self.place(item)
            if field.message_type is not None:
                self.fill(items.add(), item, at)
            else:
                value = self._value(field, item, at)
                if value is not None:
                    items.append(value)

    def _single(self, message: Message, field: FieldDescriptor, node: yaml.Node, path: str) -> None:
        kind = field.message_type
        if kind is not None and kind.full_name not in (DURATION, TIMESTAMP):
            part = getattr(message, field.name)
            part.SetInParent()
            self.fill(part, node, path)
            return
        value = self._value(field, node, path)
        if value is None:
            return
        if kind is not None:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)

    def _value(self, field: FieldDescriptor, node: yaml.Node, path: str) -> Any:
        """What *node* is as a value of *field*; None, with the problem noted, if it is nothing."""
        special = self.specials.get(field.name)
        try:
            if special is not None:
                return special(self, node)
            text = self.text(node)
            if field.type == FieldDescriptor.TYPE_BYTES:
                return from_base64(text)
            return _converted(field, text)
        except _Bad as error:
            self.problems.add(self.place(node), f"{path}: {error}")
            return None

    def text(self, node: yaml.Node) -> str:
        """The text of a scalar, or what `!file` or `!env` stand for."""
        if not isinstance(node, yaml.ScalarNode):
            raise _Bad("is a single value, not a list or fields")
        if node.tag == "!file":
            try:
                return self.read(node.value).decode()
            except UnicodeDecodeError:
                raise _Bad(f"{node.value} is no text") from None
        if node.tag == "!env":
            found = self.environment.get(node.value)
            if found is None:
                raise _Bad(f"the variable {node.value} is not set")
            return found
        if node.tag.startswith("!") and node.tag != "!":
            raise _Bad(f"there is no tag {node.tag}; there are !file and !env")
        return str(node.value)

    def read(self, name: str) -> bytes:
        """
        The content of a file beside the document.

        Raises:
            _Bad: It can't be read.

        """
        path = self.folder / name
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise _Bad(f"{path} is larger than {FILE_BYTES_MAX // 2**20} MiB")
            return path.read_bytes()
        except OSError as error:
            raise _Bad(f"{path}: {os.strerror(error.errno or 0)}") from None

    def bad(self, what: str) -> Exception:
        """The error that a special field raises for a value it can't take."""
        return _Bad(what)


def _is_null(node: yaml.Node) -> bool:
    plain = isinstance(node, yaml.ScalarNode) and not node.style
    return bool(plain and not node.tag.startswith("!") and node.value in NULLS)


def _other_of_oneof(message: Message, field: FieldDescriptor) -> str | None:
    """The field of the same oneof that is set already."""
    if field.containing_oneof is None:
        return None
    found = message.WhichOneof(field.containing_oneof.name)
    return found if found != field.name else None


def from_base64(text: str) -> bytes:
    """Raises an error that the reader tells if *text* is something else."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise _Bad("is neither Base64 nor a file") from None


def _converted(field: FieldDescriptor, text: str) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return text
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in ("true", "false"):
            raise _Bad(f"is true or false, not {text}")
        return text == "true"
    if field.enum_type is not None:
        return _enum(field.enum_type, text)
    if field.message_type is not None:
        return _time(field.message_type.full_name, text)
    return _number(field, text)


def _number(field: FieldDescriptor, text: str) -> int | float:
    bounds = NUMBERS.get(field.type)
    try:
        if bounds is None:
            return float(text)
        value = int(text)
    except ValueError:
        raise _Bad(f"is a number, not {text[:60]}") from None
    if not bounds[0] <= value <= bounds[1]:
        raise _Bad(f"is {bounds[0]} to {bounds[1]}")
    return value


def _enum(kind: EnumDescriptor, text: str) -> int:
    """A value by its name in the contract, or by what is particular in it: `ring_hash`."""
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = [one.name for one in kind.values if one.number]
    for name in (text, prefix + text.upper()):
        found = kind.values_by_name.get(name)
        if found is not None:
            return int(found.number)
    raise _Bad(f"is one of {', '.join(names)}, not {text[:60]}")


def _time(kind: str, text: str) -> Any:
    if kind == DURATION:
        duration = duration_of(text)
        if duration is None:
            raise _Bad(f"is a duration such as 5s, 300ms or 2h, not {text[:60]}")
        return duration
    return _instant(text)


def _instant(text: str) -> Timestamp:
    made = Timestamp()
    try:
        made.FromJsonString(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError:
        raise _Bad(f"is a time such as 2027-01-31T12:00:00Z, not {text[:60]}") from None
    return made
