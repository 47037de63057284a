"""
Values of cells: a kind byte and a payload, the same bytes in the database, in the state
hash and in comparisons. The kinds stand in `frames.proto` (Head), which is their specification.
"""

from __future__ import annotations

import math
import struct
from enum import IntEnum


class Kind(IntEnum):
    """What the payload is."""

    NULL = 0
    STRING = 1
    INTEGER = 2
    DOUBLE = 3
    BOOLEAN = 4
    BYTES = 5
    TIMESTAMP = 6


NULL = b"\x00"
INVALID = b""
"""Stands for what a client sent and no value can hold; never stored."""

MICROSECONDS_MIN = -62_135_596_800_000_000
MICROSECONDS_MAX = 253_402_300_799_999_999
"""The years 1 to 9999."""


def string(text: str) -> bytes:
    return b"\x01" + text.encode()


def integer(number: int) -> bytes:
    return b"\x02" + number.to_bytes(8, "big", signed=True)


def double(number: float) -> bytes:
    return INVALID if math.isnan(number) else struct.pack(">Bd", Kind.DOUBLE, number)


def boolean(truth: bool) -> bytes:  # noqa: FBT001 - it is the value
    return b"\x04\x01" if truth else b"\x04\x00"


def blob(data: bytes) -> bytes:
    return b"\x05" + data


def timestamp(microseconds: int) -> bytes:
    """Return the value of an instant, in microseconds since 1970; `INVALID` beyond year 9999."""
    if not MICROSECONDS_MIN <= microseconds <= MICROSECONDS_MAX:
        return INVALID
    return b"\x06" + microseconds.to_bytes(8, "big", signed=True)


def kind(value: bytes) -> Kind:
    return Kind(value[0])


def as_integer(value: bytes) -> int:
    """Return the payload of an integer, a boolean (0 or 1) or a timestamp (microseconds)."""
    return int.from_bytes(value[1:], "big", signed=value[0] != Kind.BOOLEAN)


def as_double(value: bytes) -> float:
    number: float = struct.unpack(">d", value[1:])[0]
    return number


def as_string(value: bytes) -> str:
    return value[1:].decode()
