"""
Messages as JSON Schema 2020-12, by protobuf's JSON mapping.

https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor


if TYPE_CHECKING:
    from collections.abc import Mapping

Schema = dict[str, Any]

_KIND = FieldDescriptor
_INT64: Final = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_UINT64: Final = {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"}
_INT32: Final = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32: Final = {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}
_BYTES: Final = {"type": "string", "contentEncoding": "base64"}


def _floating(kind: str) -> Schema:
    words = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
    return {"oneOf": [{"type": "number", "format": kind}, words]}


_SCALARS: Final[Mapping[int, Schema]] = {
    _KIND.TYPE_DOUBLE: _floating("double"),
    _KIND.TYPE_FLOAT: _floating("float"),
    _KIND.TYPE_INT64: _INT64,
    _KIND.TYPE_SINT64: _INT64,
    _KIND.TYPE_SFIXED64: _INT64,
    _KIND.TYPE_UINT64: _UINT64,
    _KIND.TYPE_FIXED64: _UINT64,
    _KIND.TYPE_INT32: _INT32,
    _KIND.TYPE_SINT32: _INT32,
    _KIND.TYPE_SFIXED32: _INT32,
    _KIND.TYPE_UINT32: _UINT32,
    _KIND.TYPE_FIXED32: _UINT32,
    _KIND.TYPE_BOOL: {"type": "boolean"},
    _KIND.TYPE_STRING: {"type": "string"},
    _KIND.TYPE_BYTES: _BYTES,
}

WELL_KNOWN: Final[Mapping[str, Schema]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {
        "type": "string",
        "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
        "description": "Seconds with up to nine fractional digits, such as `1.5s`.",
    },
    "google.protobuf.FieldMask": {
        "type": "string",
        "description": "Paths of fields in lowerCamelCase, with commas between.",
    },
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {"description": "Any JSON value."},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Empty": {"type": "object"},
    "google.protobuf.Any": {
        "type": "object",
        "required": ["@type"],
        "properties": {
            "@type": {"type": "string", "description": "Type of the message in it, as an URL."}
        },
        "description": "A message of any type, with its fields beside `@type`.",
    },
    "google.protobuf.DoubleValue": _floating("double"),
    "google.protobuf.FloatValue": _floating("float"),
    "google.protobuf.Int64Value": _INT64,
    "google.protobuf.UInt64Value": _UINT64,
    "google.protobuf.Int32Value": _INT32,
    "google.protobuf.UInt32Value": _UINT32,
    "google.protobuf.BoolValue": {"type": "boolean"},
    "google.protobuf.StringValue": {"type": "string"},
    "google.protobuf.BytesValue": _BYTES,
}

_KEYS: Final[Mapping[int, Schema]] = {
    _KIND.CPPTYPE_INT32: {"pattern": "^-?[0-9]+$"},
    _KIND.CPPTYPE_INT64: {"pattern": "^-?[0-9]+$"},
    _KIND.CPPTYPE_UINT32: {"pattern": "^[0-9]+$"},
    _KIND.CPPTYPE_UINT64: {"pattern": "^[0-9]+$"},
    _KIND.CPPTYPE_BOOL: {"enum": ["true", "false"]},
}
"""What map keys that are no strings look like as names of JSON's properties."""


class Schemas:
    """Schemas of messages and enums, each made once: messages may hold themselves."""

    def __init__(self, comments: Mapping[str, str]) -> None:
        """*comments* are by full name, as `comments.comments` returns them."""
        self._comments = comments
        self.made: dict[str, Schema] = {}
        """By full name, as `components/schemas` has them."""

    def message(self, kind: Descriptor) -> Schema:
        """Return a schema of *kind*: a reference, unless JSON has a form of its own for it."""
        known = WELL_KNOWN.get(kind.full_name)
        if known is not None:
            return dict(known)
        if kind.full_name not in self.made:
            self.made[kind.full_name] = {}  # It may refer to itself.
            self.made[kind.full_name] = self._object(kind)
        return _reference(kind.full_name)

    def field(self, field: FieldDescriptor) -> Schema:
        """Return the schema of a field, with what is said of it."""
        schema = self._of_field(field)
        said = self._comments.get(field.full_name)
        if said:
            schema["description"] = said
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        rules = behaviour(field)
        if field_behavior_pb2.OUTPUT_ONLY in rules:
            schema["readOnly"] = True
        if field_behavior_pb2.INPUT_ONLY in rules:
            schema["writeOnly"] = True
        return schema

    def _object(self, kind: Descriptor) -> Schema:
        schema: Schema = {
            "type": "object",
            "properties": {field.json_name: self.field(field) for field in kind.fields},
        }
        said = self._comments.get(kind.full_name)
        if said:
            schema["description"] = said
        if kind.GetOptions().deprecated:
            schema["deprecated"] = True
        required = [field.json_name for field in kind.fields if is_required(field)]
        if required:
            schema["required"] = required
        choices = [_at_most_one(one) for one in kind.oneofs if len(one.fields) > 1]
        if choices:
            schema["allOf"] = choices
        return schema

    def _of_field(self, field: FieldDescriptor) -> Schema:
        if is_map(field):
            assert field.message_type is not None, "a map is a message"
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            names = _KEYS.get(key.cpp_type)
            made = {"type": "object", "additionalProperties": self._single(value)}
            return made | ({"propertyNames": dict(names)} if names else {})
        one = self._single(field)
        return {"type": "array", "items": one} if field.is_repeated else one

    def _single(self, field: FieldDescriptor) -> Schema:
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.message_type is not None:
            return self.message(field.message_type)
        return dict(_SCALARS[field.type])

    def _enum(self, kind: EnumDescriptor) -> Schema:
        if kind.full_name == "google.protobuf.NullValue":
            return {"type": "null"}
        if kind.full_name not in self.made:
            self.made[kind.full_name] = self._enumeration(kind)
        return _reference(kind.full_name)

    def _enumeration(self, kind: EnumDescriptor) -> Schema:
        names = [value.name for value in kind.values]
        schema: Schema = {"type": "string", "enum": names}
        said = self._comments.get(kind.full_name)
        if said:
            schema["description"] = said
        told = {name: self._comments.get(f"{kind.full_name}.{name}", "") for name in names}
        if any(told.values()):
            schema["x-enum-descriptions"] = {name: text for name, text in told.items() if text}
        if kind.GetOptions().deprecated:
            schema["deprecated"] = True
        return schema


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a field is a map."""
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry and field.is_repeated


def is_required(field: FieldDescriptor) -> bool:
    """Return whether a field must be there, by proto2's word or by `google.api.field_behavior`."""
    return field.is_required or field_behavior_pb2.REQUIRED in behaviour(field)


def behaviour(field: FieldDescriptor) -> tuple[int, ...]:
    """Return what `google.api.field_behavior` says of a field."""
    options = field.GetOptions().SerializeToString()
    if not options:
        return ()
    # Its own pool may not know the extension: it is read anew with ours.
    known = descriptor_pb2.FieldOptions.FromString(options)
    return tuple(known.Extensions[field_behavior_pb2.field_behavior])


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _at_most_one(oneof: Any) -> Schema:
    each = [{"required": [field.json_name]} for field in oneof.fields]
    return {"oneOf": [*each, {"not": {"anyOf": each}}]}
