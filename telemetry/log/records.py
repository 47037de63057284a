"""
Records of the log: an OTLP request as it came, and fields that OTLP readers skip.

    length   varint     of all that follows
    request  bytes      the client's; of metrics mostly a block of snappy, then there is a 15006
    15001    bytes      tenant
    15006    varint     1: the request is packed
    15002    fixed64    when it was received, Unix nanoseconds
    15003    fixed32    how long the request is
    15004    fixed32    the length again
    15005    fixed32    CRC-32 of everything after the length up to this field

So a file of logs or traces is a file of length-delimited OTLP requests. A torn, zeroed or flipped
record doesn't fit its CRC, and the next good one is found by its end: the last field's tag,
and before it the length.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.log.packing import unpacked


if TYPE_CHECKING:
    from collections.abc import Iterator

    Buffer = bytes | memoryview


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_TENANT_TAG = _varint(15001 << 3 | 2)
_RECEIVED_TAG = _varint(15002 << 3 | 1)
_REQUEST_TAG = _varint(15003 << 3 | 5)
_LENGTH_TAG = _varint(15004 << 3 | 5)
_CRC_TAG = _varint(15005 << 3 | 5)
_PACKED = _varint(15006 << 3 | 0) + b"\x01"
_TAIL = struct.Struct("<3sQ3sI3sI3sI")
"""The fields at the end; their tags have 3 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A good record, by its place in the file."""

    start: int
    """Where its length begins."""

    body: int
    """Where the request begins."""

    end: int
    request_bytes: int
    """As it stands in the file."""

    packed: bool
    tenant: str
    received_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes between good records that are no record."""

    start: int
    end: int


def seal(request: bytes, tenant: str, received_ns: int, *, packed: bool = False) -> bytes:
    """Return the record of *request*, which is a block of snappy if it is *packed*."""
    name = tenant.encode()
    mark = _PACKED if packed else b""
    front = b"".join((request, _TENANT_TAG, _varint(len(name)), name, mark))
    length = len(front) + _TAIL.size
    tail = _TAIL.pack(
        _RECEIVED_TAG, received_ns, _REQUEST_TAG, len(request), _LENGTH_TAG, length, _CRC_TAG, 0
    )[: -len(_CRC_TAG) - 4]
    crc = struct.pack("<I", zlib.crc32(tail, zlib.crc32(front)))
    return b"".join((_varint(length), front, tail, _CRC_TAG, crc))


def request_of(data: bytes, record: Record) -> bytes:
    """
    Return the request in a *record* of *data*, as its sender encoded it.

    Raises:
        ValueError, OSError: It isn't packed as its record says.

    """
    request = data[record.body : record.body + record.request_bytes]
    return unpacked(request) if record.packed else request


def read(data: bytes) -> Iterator[Record | Damage]:
    """Yield what *data*, a segment, consists of, in order and without gaps."""
    at = 0
    while at < len(data):
        record = _record_at(data, at)
        if record is None:
            end = _next_good(data, at)
            yield Damage(start=at, end=end)
            at = end
        else:
            yield record
            at = record.end


def _record_at(data: bytes, start: int) -> Record | None:
    """Return the record that begins at *start*, if a good one does."""
    length, body = _read_varint(data, start)
    end = body + length
    if body < 0 or length < _TAIL.size or end > len(data):
        return None
    received_tag, received_ns, request_tag, request_bytes, length_tag, again, crc_tag, crc = (
        _TAIL.unpack_from(data, end - _TAIL.size)
    )
    tags = (received_tag, request_tag, length_tag, crc_tag)
    if tags != (_RECEIVED_TAG, _REQUEST_TAG, _LENGTH_TAG, _CRC_TAG) or again != length:
        return None
    if zlib.crc32(memoryview(data)[body : end - len(_CRC_TAG) - 4]) != crc:
        return None
    length, tenant = _read_varint(data, body + request_bytes + len(_TENANT_TAG))
    return Record(
        start=start,
        body=body,
        end=end,
        request_bytes=request_bytes,
        packed=data.startswith(_PACKED, tenant + length),
        tenant=data[tenant : tenant + length].decode(),
        received_ns=received_ns,
    )


def _next_good(data: bytes, start: int) -> int:
    """Return where the first good record after *start* begins, or the end."""
    at = start
    while (tag := data.find(_CRC_TAG, at)) >= 0:
        at = tag + 1
        end = tag + len(_CRC_TAG) + 4
        if end > len(data) or end - _TAIL.size <= start:
            continue
        length: int = _TAIL.unpack_from(data, end - _TAIL.size)[5]
        begin = end - length - len(_varint(length))
        if begin > start and _record_at(data, begin) is not None:
            return begin
    return len(data)


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the number at *start* and where it ends; -1 if there is none of 5 bytes at most."""
    value = 0
    for i, byte in enumerate(data[start : start + 5]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, start + i + 1
    return 0, -1
