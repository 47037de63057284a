"""
Records of the log: an OTLP request as it came, and fields that OTLP readers skip.

    length   varint     of all that follows
    request  bytes      the client's
    15001    bytes      tenant
    15002    fixed64    when it was received, Unix nanoseconds
    15003    fixed32    how long the request is
    15004    fixed32    CRC-32 of everything after the length up to this field

So a file of records is a file of length-delimited OTLP requests. A torn, zeroed or flipped
record doesn't fit its CRC, and the next good one is found by the last field's tag.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING


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
_CRC_TAG = _varint(15004 << 3 | 5)
_TAIL = struct.Struct(f"<{len(_RECEIVED_TAG)}sQ{len(_REQUEST_TAG)}sI{len(_CRC_TAG)}sI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A good record, by its place in the file."""

    start: int
    """Where its length begins."""

    body: int
    """Where the request begins."""

    end: int
    request_bytes: int
    tenant: str
    received_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes between good records that are no record."""

    start: int
    end: int


def seal(request: bytes, tenant: str, received_ns: int) -> bytes:
    """Return the record of *request*."""
    name = tenant.encode()
    body = b"".join(
        (
            request,
            _TENANT_TAG,
            _varint(len(name)),
            name,
            _RECEIVED_TAG,
            struct.pack("<Q", received_ns),
            _REQUEST_TAG,
            struct.pack("<I", len(request)),
        )
    )
    crc = struct.pack("<I", zlib.crc32(body))
    return b"".join((_varint(len(body) + len(_CRC_TAG) + 4), body, _CRC_TAG, crc))


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
    received_tag, received_ns, request_tag, request_bytes, crc_tag, crc = _TAIL.unpack_from(
        data, end - _TAIL.size
    )
    tags = (received_tag, request_tag, crc_tag)
    if tags != (_RECEIVED_TAG, _REQUEST_TAG, _CRC_TAG):
        return None
    if zlib.crc32(memoryview(data)[body : end - len(_CRC_TAG) - 4]) != crc:
        return None
    _, tenant = _read_varint(data, body + request_bytes + len(_TENANT_TAG))
    return Record(
        start=start,
        body=body,
        end=end,
        request_bytes=request_bytes,
        tenant=data[tenant : end - _TAIL.size].decode(),
        received_ns=received_ns,
    )


def _next_good(data: bytes, start: int) -> int:
    """Return where the first good record after *start* begins, or the end."""
    at = start
    while True:
        tag = data.find(_CRC_TAG, at)
        if tag < 0:
            return len(data)
        after = tag + len(_CRC_TAG) + 4
        if after >= len(data):
            return len(data)
        if _record_at(data, after) is not None:
            return after
        at = tag + 1


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the number at *start* and where it ends; -1 if there is none of 5 bytes at most."""
    value = 0
    for i, byte in enumerate(data[start : start + 5]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, start + i + 1
    return 0, -1
