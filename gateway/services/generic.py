"""
Between messages and frozen dataclasses whose fields have the same names.

Fields that are marked `internal` are only the model's.

What the wire can't tell from "unset" (0, "" and an unspecified enum value) becomes the dataclass's
default; so does what is unset.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from meshkit.errors import InvalidInput


if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

T = TypeVar("T")

_DURATION_S_MAX = 10**9  # Longer ones are refused later; `timedelta` must be able to hold them.


def to_model(cls: type[T], message: Message, **given: Any) -> T:
    """
    Return *message* as a *cls*; *given* takes the place of its fields.

    Raises:
        InvalidInput: INVALID_OBJECT: something that has no default is missing.

    """
    values = dict(given)
    made: Any = cls
    for field in dataclasses.fields(made):
        if field.name in given or field.metadata.get("internal"):
            continue
        descriptor: Any = message.DESCRIPTOR.fields_by_name[field.name]
        value = _read(_hints(made)[field.name], message, descriptor)
        if value is not None:
            values[field.name] = value
        elif field.default is dataclasses.MISSING:
            values[field.name] = _empty(field.name, _hints(made)[field.name])
    return cls(**values)


def fill(message: Message, value: Any, *, but: frozenset[str] = frozenset()) -> None:
    """Write the dataclass *value* into *message*, all but the fields named."""
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item is None or field.name in but or field.metadata.get("internal"):
            continue
        descriptor = message.DESCRIPTOR.fields_by_name[field.name]
        if descriptor.is_repeated:
            repeated = getattr(message, field.name)
            for one in item:
                if dataclasses.is_dataclass(one):
                    fill(repeated.add(), one)
                else:
                    repeated.append(one)
        elif dataclasses.is_dataclass(item):
            if item == field.default:
                continue  # All of it would say what is so anyway.
            part = getattr(message, field.name)
            part.SetInParent()
            fill(part, item)
        elif isinstance(item, timedelta):
            getattr(message, field.name).FromTimedelta(item)
        elif isinstance(item, datetime):
            getattr(message, field.name).FromDatetime(item)
        elif isinstance(item, enum.Enum):
            assert descriptor.enum_type is not None, "an enum on both sides"
            number = descriptor.enum_type.values_by_name[_prefix(descriptor.enum_type) + item.name]
            setattr(message, field.name, number.number)
        else:
            setattr(message, field.name, item)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _bare(hint: Any) -> Any:
    """Return the type without its `| None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(one for one in typing.get_args(hint) if one is not types.NoneType)
    return hint


def _empty(name: str, hint: Any) -> Any:
    """Return what stands for "unset" where there is no default."""
    if typing.get_origin(hint) is tuple:
        return ()
    if hint in (str, int, float, bool, bytes):
        return hint()
    raise InvalidInput(
        "INVALID_OBJECT", f"{name} is missing.", field_violations={name: "is required"}
    )


def _read(hint: Any, message: Message, field: FieldDescriptor) -> Any:
    """Return a field's value, or None if it is unset."""
    bare: Any = _bare(hint)
    if field.is_repeated:
        (inner, *_) = typing.get_args(bare)
        items = getattr(message, field.name)
        if inner is str:
            _refuse_nul(field.name, *items)
        return tuple(_part(inner, one) if dataclasses.is_dataclass(inner) else one for one in items)
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if bare is str:
        _refuse_nul(field.name, value)
    if bare is timedelta:
        seconds = max(-_DURATION_S_MAX, min(value.seconds, _DURATION_S_MAX))
        return timedelta(seconds=seconds, microseconds=value.nanos // 1000)
    if bare is datetime:
        return value.ToDatetime(UTC)
    if field.enum_type is not None:
        return _enum(bare, field.enum_type, value)
    if dataclasses.is_dataclass(bare):
        return _part(bare, value)
    return value if field.has_presence or value else None


def _refuse_nul(name: str, *texts: str) -> None:
    """No text has it: the database couldn't hold it, and what C is written in ends there."""
    if any("\0" in text for text in texts):
        raise InvalidInput(
            "INVALID_OBJECT",
            f"{name} has a NUL character in it.",
            field_violations={name: "has a NUL character"},
        )


def _part(cls: Any, message: Message) -> Any:
    return to_model(cls, message)


def _enum(cls: Any, described: EnumDescriptor, number: int) -> Any:
    known = described.values_by_number.get(number)
    if known is None or number == 0:
        return None
    return cls[known.name.removeprefix(_prefix(described))]


@functools.cache
def _prefix(described: EnumDescriptor) -> str:
    """Return what the names of the values begin with, as buf wants it: that of the zero value."""
    return described.values_by_number[0].name.removesuffix("UNSPECIFIED")
