"""Objects to JSON and back, for the database."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import types
import typing
from datetime import datetime, timedelta
from typing import Any

from gateway import model
from gateway.kinds import BY_KEY


_MICROSECOND = timedelta(microseconds=1)


def encode(value: model.Object) -> dict[str, Any]:
    """Return *value* as JSON; of a service's descriptor set only the hash (`descriptor_hash`)."""
    made = _encode(value)
    assert isinstance(made, dict), "a dataclass"
    made.pop("name")
    if isinstance(value, model.Service):
        made["descriptor_set"] = descriptor_hash(value)
    return made


def decode(kind: str, name: str, content: dict[str, Any], descriptor_set: bytes) -> model.Object:
    """Return the object of *kind* (a key of `KINDS`) that was encoded as *content*."""
    cls = BY_KEY[kind].cls
    fields = dict(content)
    fields.pop("descriptor_set", None)
    made = _decode(cls, {**fields, "name": name})
    if isinstance(made, model.Service):
        return dataclasses.replace(made, descriptor_set=descriptor_set)
    result: model.Object = made
    return result


def descriptor_hash(service: model.Service) -> str:
    """Return the hash of a service's descriptor set; "" without one."""
    if not service.descriptor_set:
        return ""
    return hashlib.sha256(service.descriptor_set).hexdigest()


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {
            field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, timedelta):
        return value // _MICROSECOND
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return ""  # Stands elsewhere.
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _decode(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (one for one in typing.get_args(hint) if one is not types.NoneType)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(_decode(inner, item) for item in value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = _hints(hint)
        return hint(**{name: _decode(hints[name], item) for name, item in value.items()})
    if hint is timedelta:
        return value * _MICROSECOND
    if hint is datetime:
        return datetime.fromisoformat(value)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    return value
