"""What the map needs of the spans of a checked request, as columns; no Python per span."""

# ruff: noqa: PLR0917 - compiled: no keyword arguments

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.hashing import find, int_hash, xxhash64
from telemetry.scan.points import in_time
from telemetry.scan.wire import bare, compiled, field, number64, varint


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.scan.wire import Bytes

    Table = NDArray[np.uint64]

ID, PARENT, SERVICE, PEER, PEER_CLASS, KIND, FAILED, START, DURATION, TRACE_HIGH, TRACE_LOW = range(
    11
)
COLUMNS = 11
"""Columns of a span: hashes of ids and names, OTLP's kind, 0 or 1, nanoseconds, the trace's id."""

FRESH_MAX = 256
"""Most names that one request may teach; others come with the next."""

CLIENT, PRODUCER = np.uint64(3), np.uint64(4)
PEER_KEYS = (
    ("peer.service", 4),
    ("db.system.name", 3),
    ("db.system", 3),
    ("messaging.system", 2),
    ("server.address", 4),
    ("net.peer.name", 4),
)
"""Attributes that name a peer, the first counts most, with the kind of edge to it."""

UNNAMED = "unknown_service"
OTHER = np.uint64(2)
"""Stands for all names once there are too many."""

_U0, _U1 = np.uint64(0), np.uint64(1)
_SHORTEST, _LONGEST = 9, 16


def key_hashes() -> Table:
    """Return the hashes of `service.name` and of the attributes that name peers."""
    keys = ["service.name", *(key for key, _ in PEER_KEYS)]
    return np.array([text_hash(key) for key in keys], np.uint64)


def text_hash(text: str) -> np.uint64:
    """Return the hash by which the compiled code knows *text*."""
    data = np.frombuffer(text.encode() or b"\0", np.uint8)
    return np.uint64(xxhash64(data, 0, len(text.encode())))


def name_hash(tenant_hash: np.uint64, text: str) -> np.uint64:
    """Return the hash of a service of a tenant."""
    with np.errstate(over="ignore"):
        return np.uint64(int_hash(text_hash(text) + tenant_hash))


@bare
def _text(data: Bytes, start: int, stop: int) -> tuple[int, int]:
    """Return where the text of the AnyValue in a KeyValue stands; an empty range: it is none."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 2:
            inner = begin
            while inner < at:
                inner_number, inner_begin, inner = field(data, inner, at)
                if inner_number == 1:
                    return inner_begin, inner
    return start, start


@bare
def _key(data: Bytes, start: int, stop: int, keys: Table) -> int:
    """Return which of *keys* the KeyValue has, or -1."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            if at - begin < _SHORTEST or at - begin > _LONGEST:
                return -1
            found = xxhash64(data, begin, at)
            for i in range(keys.shape[0]):
                if keys[i] == found:
                    return i
            return -1
    return -1


@bare
def _named(
    data: Bytes, start: int, stop: int, tenant: np.uint64, known: Table, fresh: Table, full: int
) -> np.uint64:
    """Return the hash of the name in `data[start:stop]`, and note it if it isn't known."""
    name = int_hash(xxhash64(data, start, stop) + tenant)
    if find(known, name) >= 0:
        return name
    if full:
        return OTHER
    count = np.int64(fresh[0, 0])
    if count + 1 < fresh.shape[0]:
        row = count + 1
        fresh[row, 0] = name
        fresh[row, 1] = np.uint64(start)
        fresh[row, 2] = np.uint64(stop)
        fresh[0, 0] = np.uint64(row)
    return name


@bare
def _service(
    data: Bytes,
    start: int,
    stop: int,
    tenant: np.uint64,
    unnamed: np.uint64,
    keys: Table,
    known: Table,
    fresh: Table,
    full: int,
) -> np.uint64:
    """Return the service that the ResourceSpans at `data[start:stop]` names."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 1:
            continue
        inner = begin
        while inner < at:
            inner_number, inner_begin, inner = field(data, inner, at)
            if inner_number == 1 and _key(data, inner_begin, inner, keys) == 0:
                name, name_end = _text(data, inner_begin, inner)
                if name_end > name:
                    return _named(data, name, name_end, tenant, known, fresh, full)
    return unnamed


@bare
def _peer(
    data: Bytes,
    start: int,
    stop: int,
    tenant: np.uint64,
    keys: Table,
    known: Table,
    fresh: Table,
    full: int,
) -> tuple[np.uint64, int]:
    """Return the peer that the Span at `data[start:stop]` names, and by which key; 0: none."""
    best, name, name_end = keys.shape[0], 0, 0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number != 9:
            continue
        key = _key(data, begin, at, keys)
        if 0 < key < best:
            first, last = _text(data, begin, at)
            if last > first:
                best, name, name_end = key, first, last
    if name_end == 0:
        return _U0, 0
    return _named(data, name, name_end, tenant, known, fresh, full), best


@bare
def _id(data: Bytes, trace: int, span: int, tenant: np.uint64) -> np.uint64:
    of_trace = int_hash(number64(data, trace) + int_hash(number64(data, trace + 8) + tenant))
    return int_hash(number64(data, span) + of_trace)


@bare
def _failed(data: Bytes, start: int, stop: int) -> np.uint64:
    """Return 1 if the Status says that the span went wrong."""
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 3:
            code, _ = varint(data, begin, at)
            return _U1 if code == np.uint64(2) else _U0
    return _U0


@bare
def _big(number: np.uint64) -> np.uint64:
    """Return *number* with its bytes in the other order."""
    swapped = _U0
    for i in range(8):
        byte = (number >> np.uint64(8 * i)) & np.uint64(0xFF)
        swapped |= byte << np.uint64(56 - 8 * i)
    return swapped


@bare
def _span(
    data: Bytes, start: int, stop: int, received: np.uint64, tenant: np.uint64, out: Table, row: int
) -> int:
    """Read a Span into *row*, but for its service and peer; return the next row."""
    trace, span, parent, trace_size, span_size = 0, 0, 0, 0, 0
    kind, failed, begun, ended = _U0, _U0, _U0, _U0
    at = start
    while at < stop:
        number, begin, at = field(data, at, stop)
        if number == 1:
            trace, trace_size = begin, at - begin
        elif number == 2:
            span, span_size = begin, at - begin
        elif number == 4 and at - begin == 8:
            parent = begin
        elif number == 6:
            kind, _ = varint(data, begin, at)
        elif number == 7:
            begun = number64(data, begin)
        elif number == 8:
            ended = number64(data, begin)
        elif number == 15:
            failed = _failed(data, begin, at)
    if trace_size != 16 or span_size != 8 or not in_time(begun, received):
        return row
    if row >= out.shape[0]:
        return row
    has_parent = parent != 0 and number64(data, parent) != _U0
    out[row, ID] = _id(data, trace, span, tenant)
    out[row, PARENT] = _id(data, trace, parent, tenant) if has_parent else _U0
    out[row, TRACE_HIGH] = _big(number64(data, trace))
    out[row, TRACE_LOW] = _big(number64(data, trace + 8))
    out[row, KIND] = kind
    out[row, FAILED] = failed
    out[row, START] = begun if begun != _U0 else received
    out[row, DURATION] = ended - out[row, START] if ended > out[row, START] else _U0
    return row + 1


@compiled
def extract(
    data: Bytes,
    received: np.uint64,
    tenant: np.uint64,
    unnamed: np.uint64,
    keys: Table,
    known: Table,
    fresh: Table,
    full: int,
    out: Table,
) -> int:
    """
    Read the spans of the checked request *data* that are stored into rows of *out*.

    Names that aren't *known* are noted in *fresh*: how many in its first row, then hash, start
    and stop of each. Where *full*, they become `OTHER` instead. Returns how many spans there are.
    """
    row = 0
    at = 0
    while at < data.shape[0]:
        number, begin, at = field(data, at, data.shape[0])
        if number != 1:
            continue
        service = _service(data, begin, at, tenant, unnamed, keys, known, fresh, full)
        scopes = begin
        while scopes < at:
            scope_number, scope, scopes = field(data, scopes, at)
            if scope_number != 2:
                continue
            while scope < scopes:
                span_number, span, scope = field(data, scope, scopes)
                if span_number != 2:
                    continue
                following = _span(data, span, scope, received, tenant, out, row)
                if following == row:
                    continue
                out[row, SERVICE] = service
                peer, by = _U0, 0
                if out[row, KIND] == CLIENT or out[row, KIND] == PRODUCER:
                    peer, by = _peer(data, span, scope, tenant, keys, known, fresh, full)
                out[row, PEER] = peer
                out[row, PEER_CLASS] = np.uint64(by)
                row = following
    return row
