"""Changes of a space as bytes: columns of differences, as `frames.proto` specifies them."""

from __future__ import annotations

import zlib

from aerofusion.sync.v1 import frames_pb2 as frames
from aerofusion.sync.v1 import sync_service_pb2 as service
from syncd import integrity, values
from syncd.model import Changes
from syncd.values import Kind


PLAIN_BYTES_MAX = 256
"""Columns up to this size aren't worth compressing."""

ZLIB_LEVEL = 6


def delta(changes: Changes, *, reset: bool = False) -> frames.Delta:
    """Return *changes* as a message; *reset* makes the device forget what it had."""
    packed = columns(changes).SerializeToString()
    encoding = frames.ENCODING_IDENTITY
    if len(packed) > PLAIN_BYTES_MAX:
        smaller = zlib.compress(packed, ZLIB_LEVEL)
        if len(smaller) < len(packed):
            packed, encoding = smaller, frames.ENCODING_ZLIB
    proof = b"" if changes.state_hash is None else integrity.to_bytes(changes.state_hash)
    return frames.Delta(
        space_key=changes.space_key,
        from_seq=changes.from_seq,
        to_seq=changes.to_seq,
        columns=packed,
        encoding=encoding,
        reset=reset,
        more=changes.more,
        state_hash=proof,
        hlc_max=changes.hlc_max,
    )


def frame_bytes(message: frames.Delta) -> bytes:
    """Return the serialised stream response that holds *message*: the same for every session."""
    return service.SessionResponse(frame=frames.ServerFrame(delta=message)).SerializeToString()


def columns(changes: Changes) -> frames.Columns:
    """Return *changes* in columns."""
    packed = frames.Columns()
    before = 0
    for number, record_id in changes.new_records:
        packed.new_record_numbers.append(number - before)
        packed.new_record_ids.append(record_id)
        before = number
    before, seq_before = 0, changes.from_seq
    for number, seq in changes.removals:
        packed.removed_record_numbers.append(number - before)
        packed.removed_seqs.append(seq - seq_before)
        before, seq_before = number, seq
    before, seq_before = 0, changes.from_seq
    for cell in changes.cells:
        kind = values.kind(cell.value)
        packed.record_numbers.append(cell.record - before)
        packed.seqs.append(cell.seq - seq_before)
        packed.tags.append(cell.field * 8 + kind)
        before, seq_before = cell.record, cell.seq
        match kind:
            case Kind.STRING:
                packed.strings.append(values.as_string(cell.value))
            case Kind.DOUBLE:
                packed.doubles.append(values.as_double(cell.value))
            case Kind.BYTES:
                packed.blobs.append(cell.value[1:])
            case Kind.INTEGER | Kind.BOOLEAN | Kind.TIMESTAMP:
                packed.integers.append(values.as_integer(cell.value))
            case Kind.NULL:
                pass
    return packed
