"""Deltas out of their columns, as `frames.proto` specifies them. Bounded: nothing is trusted."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from google.protobuf.message import DecodeError

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion_client import values


COLUMNS_BYTES_MAX = 64 * 1024 * 1024


class InvalidDelta(Exception):
    """The bytes are no delta of this protocol version."""


@dataclass(frozen=True, slots=True)
class CellChange:
    """A cell as it now is."""

    record: int
    field: int
    seq: int
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a delta says."""

    new_records: dict[int, str]
    """Ids by number."""

    removals: list[tuple[int, int]]
    """Record number and seq."""

    cells: list[CellChange]


def unpack(delta: frames.Delta) -> Changes:
    """
    Return what is in the columns of *delta*.

    Raises:
        InvalidDelta: They are packed in an unknown way, too large, or don't fit together.

    """
    try:
        columns = frames.Columns.FromString(_plain(delta))
        numbers = accumulate(columns.new_record_numbers)
        new = dict(zip(numbers, columns.new_record_ids, strict=True))
        seqs = accumulate(columns.removed_seqs, initial=delta.from_seq)
        next(seqs)
        removed = zip(accumulate(columns.removed_record_numbers), seqs, strict=True)
        cells = list(_cells(columns, delta.from_seq))
        return Changes(new_records=new, removals=list(removed), cells=cells)
    except (ValueError, IndexError, zlib.error, OverflowError, DecodeError) as error:
        raise InvalidDelta(str(error)) from error


def _plain(delta: frames.Delta) -> bytes:
    if delta.encoding == frames.ENCODING_IDENTITY or not delta.columns:
        return delta.columns
    if delta.encoding == frames.ENCODING_ZLIB:
        inflate = zlib.decompressobj()
        plain = inflate.decompress(delta.columns, COLUMNS_BYTES_MAX)
        if not inflate.eof:
            raise ValueError("too large or cut off")
        return plain
    raise ValueError(f"unknown encoding {delta.encoding}")


def _cells(columns: frames.Columns, from_seq: int) -> Iterator[CellChange]:
    seqs = accumulate(columns.seqs, initial=from_seq)
    next(seqs)
    records = accumulate(columns.record_numbers)
    take = _Payloads(columns)
    for record, seq, tag in zip(records, seqs, columns.tags, strict=True):
        field, kind = divmod(tag, 8)
        if not 0 < field <= 255:
            raise ValueError(f"field number {field}")
        yield CellChange(record, field, seq, bytes([kind]) + take.payload(kind))


class _Payloads:
    """Takes payloads from the columns of values, in order."""

    def __init__(self, columns: frames.Columns) -> None:
        # Popped from the end; IndexError when there are too few.
        self._strings = columns.strings[::-1]
        self._integers = columns.integers[::-1]
        self._doubles = columns.doubles[::-1]
        self._blobs = columns.blobs[::-1]

    def payload(self, kind: int) -> bytes:
        match kind:
            case values.NULL:
                return b""
            case values.STRING:
                return self._strings.pop().encode()
            case values.DOUBLE:
                return struct.pack(">d", self._doubles.pop())
            case values.BOOLEAN:
                return b"\x01" if self._integers.pop() else b"\x00"
            case values.INTEGER | values.TIMESTAMP:
                return self._integers.pop().to_bytes(8, "big", signed=True)
            case values.BYTES:
                return self._blobs.pop()
            case _:
                raise ValueError(f"unknown kind {kind}")
