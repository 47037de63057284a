"""
Values as Python has them, as cells hold them and as the contract sends them.

    None, str, int (64 bits), float, bool, bytes, datetime (with a zone; to the microsecond)

A cell's value is a kind byte and a payload, as `frames.proto` (Head) specifies.
"""

from __future__ import annotations

import hashlib
import math
import struct
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from aerofusion.sync.v1 import frames_pb2 as frames


Value = None | str | int | float | bool | bytes | datetime

NULL, STRING, INTEGER, DOUBLE, BOOLEAN, BYTES, TIMESTAMP = range(7)
INTEGER_MAX = (1 << 63) - 1
VALUE_BYTES_MAX = 64 * 1024
MODULUS = 1 << 128


class InvalidValue(ValueError):
    """No cell can hold this. The message says why."""


def to_message(value: Value) -> frames.Value:
    """
    Return *value* as the contract has it.

    Raises:
        InvalidValue: Of another type, NaN, without a zone, or too large.

    """
    match value:
        case None:
            return frames.Value()
        case bool():
            return frames.Value(boolean_value=value)
        case int():
            if not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
                raise InvalidValue(f"{value} doesn't fit in 64 bits")
            return frames.Value(integer_value=value)
        case float():
            if math.isnan(value):
                raise InvalidValue("NaN equals nothing, not even itself")
            return frames.Value(double_value=value)
        case str():
            _check_size(value.encode())
            return frames.Value(string_value=value)
        case bytes():
            _check_size(value)
            return frames.Value(bytes_value=value)
        case datetime():
            if value.tzinfo is None:
                raise InvalidValue("a datetime needs a zone")
            return frames.Value(timestamp_value=_timestamp(value))
        case _:
            raise InvalidValue(f"{type(value).__name__} can't be a value")


def from_message(message: frames.Value) -> Value:
    """Return what *message* says in Python."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "timestamp_value":
        return _instant(message.timestamp_value.seconds * 1_000_000) + timedelta(
            microseconds=message.timestamp_value.nanos // 1000
        )
    value: Value = getattr(message, kind)
    return value


def from_cell(cell: bytes) -> Value:
    """Return what the bytes of a cell say in Python."""
    payload = cell[1:]
    match cell[0]:
        case 0:
            return None
        case 1:
            return payload.decode()
        case 2:
            return int.from_bytes(payload, "big", signed=True)
        case 3:
            number: float = struct.unpack(">d", payload)[0]
            return number
        case 4:
            return payload == b"\x01"
        case 5:
            return payload
        case 6:
            return _instant(int.from_bytes(payload, "big", signed=True))
        case kind:
            raise InvalidValue(f"unknown kind {kind}: update this client")


def cell_hash(record: str, field: int, seq: int, cell: bytes) -> int:
    """Return what one cell adds to the state hash of its space."""
    message = b"%b\x00%c%b%b" % (record.encode(), field, seq.to_bytes(8, "big"), cell)
    return int.from_bytes(hashlib.blake2b(message, digest_size=16).digest(), "big")


def _check_size(data: bytes) -> None:
    if len(data) > VALUE_BYTES_MAX:
        raise InvalidValue(f"{len(data)} bytes; at most {VALUE_BYTES_MAX}")


def _timestamp(value: datetime) -> Timestamp:
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    seconds = since.days * 86_400 + since.seconds
    return Timestamp(seconds=seconds, nanos=since.microseconds * 1000)


def _instant(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
