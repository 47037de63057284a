"""
Attributes of logs and spans: as they are stored, and as they are read.

All values are text. Lists and maps are stored as their OTLP bytes, in base64 behind a word that
says so (telemetry/load/statements.py), and read as JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from telemetry.scan.names import value_text


if TYPE_CHECKING:
    from collections.abc import Mapping

LIST, MAP = "otlp:list,", "otlp:map,"
"""What stored lists and maps begin with."""

_DEPTH_MAX = 32


def readable(stored: Mapping[str, str]) -> dict[str, str]:
    """Return attributes as they are shown: lists and maps as JSON."""
    return {name: readable_text(value) for name, value in stored.items()}


def readable_text(stored: str) -> str:
    """Return a value as it is shown; what only looks like a stored list or map, as it is."""
    if not stored.startswith((LIST, MAP)):
        return stored
    mark, _, encoded = stored.partition(",")
    value = AnyValue()
    try:
        content = base64.b64decode(encoded, validate=True)
        if mark == LIST[:-1]:
            value.array_value.MergeFrom(ArrayValue.FromString(content))
        else:
            value.kvlist_value.MergeFrom(KeyValueList.FromString(content))
        return value_text(value)
    except (binascii.Error, DecodeError, ValueError):
        return stored


def stored_forms(text: str) -> list[str]:
    """
    Return how a value that is shown as *text* may be stored: as it is, and as a list or map.

    A list of numbers with fractions, or of bytes, isn't found by its text.
    """
    if not text.startswith(("[", "{")):
        return [text]
    try:
        value = _any_value(json.loads(text), 0)
    except (ValueError, RecursionError):
        return [text]
    kind = value.WhichOneof("value")
    content = (
        value.array_value if kind == "array_value" else value.kvlist_value
    ).SerializeToString()
    mark = LIST if kind == "array_value" else MAP
    return [text, f"{mark}{base64.b64encode(content).decode()}"]


def _any_value(plain: object, depth: int) -> AnyValue:
    if depth > _DEPTH_MAX:
        raise ValueError(depth)
    match plain:
        case bool():
            return AnyValue(bool_value=plain)
        case int() if -(1 << 63) <= plain < 1 << 63:
            return AnyValue(int_value=plain)
        case str():
            return AnyValue(string_value=plain)
        case list():
            return AnyValue(
                array_value=ArrayValue(values=[_any_value(one, depth + 1) for one in plain])
            )
        case dict():
            pairs = [KeyValue(key=k, value=_any_value(v, depth + 1)) for k, v in plain.items()]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))
        case _:
            raise ValueError(plain)
