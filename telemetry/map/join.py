"""
The streaming join: spans in any order become calls between services; no Python per span.

Spans wait in a ring, oldest first, found by their own id and, until it is there, by their
parent's. A call is a child in another service than its parent's, or a server's span under a
client's. When a span leaves the ring, a client's that nobody has answered is a call to the
peer that it names, and a server's whose parent never came one from outside.
"""

# ruff: noqa: PLR0917, PLR1714, SIM109 - compiled: no keyword arguments, and sets are slow

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from telemetry.map.spans import (
    DURATION,
    FAILED,
    ID,
    KIND,
    PARENT,
    PEER,
    PEER_CLASS,
    SERVICE,
    START,
)
from telemetry.scan.hashing import int_hash
from telemetry.scan.wire import bare, compiled


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Table = NDArray[np.uint64]
    Links = NDArray[np.int64]

FLAGS, SEEN_MS = 9, 10
RING_COLUMNS = 11
"""Those of `telemetry.map.spans`, what has become of the span, and when it came."""

ANSWERED, WAITING = np.uint64(1), np.uint64(2)

BY_ID, BY_PARENT = 0, 1
"""Columns of the two chains, in `heads` and `following`."""

FIRST, NEXT, USED, LOST, EARLY = range(5)
"""State: oldest span, next span, groups in use, calls without a group, spans gone too early."""

G_CLIENT, G_SERVER, G_MINUTE, G_KIND, G_CALLS, G_ERRORS, G_DURATION, G_LATENCY = range(8)
"""Columns of a group of calls; from `G_LATENCY` on, calls by duration."""

RPC, MESSAGING, DATABASE, EXTERNAL = 1, 2, 3, 4
VIRTUAL = 8
"""Kinds of edges; `VIRTUAL` is added where nobody answered."""

OUTSIDE = np.uint64(1)
BUCKETS = 128
"""Buckets of durations: below 1 us, then four for each doubling."""

_U0, _U1 = np.uint64(0), np.uint64(1)
_SERVER, _CLIENT, _PRODUCER, _CONSUMER = np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(5)
_MINUTE_NS = np.uint64(60_000_000_000)


@bare
def bucket_of(duration_ns: np.uint64) -> int:
    """Return the bucket of a duration."""
    us = float(duration_ns) / 1000.0
    if us < 1.0:
        return 0
    return min(1 + int(math.floor(math.log2(us) * 4.0)), BUCKETS - 1)  # noqa: RUF046 - numba's floor is a float


@bare
def _count(
    groups: Table,
    state: Links,
    client: np.uint64,
    server: np.uint64,
    begun: np.uint64,
    kind: int,
    failed: np.uint64,
    duration: np.uint64,
) -> None:
    """Count a call in its group."""
    size = groups.shape[0]
    minute = begun // _MINUTE_NS
    mixed = int_hash(client + int_hash(server + int_hash(minute + np.uint64(kind))))
    at = np.int64(mixed & np.uint64(size - 1))
    for _ in range(size):
        if groups[at, G_CALLS] == _U0:
            if state[USED] * 4 >= size * 3:
                state[LOST] += 1
                return
            state[USED] += 1
            groups[at, G_CLIENT], groups[at, G_SERVER] = client, server
            groups[at, G_MINUTE], groups[at, G_KIND] = minute, np.uint64(kind)
            break
        if (
            groups[at, G_CLIENT] == client
            and groups[at, G_SERVER] == server
            and groups[at, G_MINUTE] == minute
            and groups[at, G_KIND] == np.uint64(kind)
        ):
            break
        at = (at + 1) % size
    groups[at, G_CALLS] += _U1
    groups[at, G_ERRORS] += failed
    groups[at, G_DURATION] += duration
    groups[at, G_LATENCY + bucket_of(duration)] += _U1


@bare
def _bucket(key: np.uint64, heads: Links) -> int:
    return np.int64(key & np.uint64(heads.shape[0] - 1))  # type: ignore[return-value]


@bare
def _unlink(heads: Links, following: Links, chain: int, key: np.uint64, row: int) -> None:
    bucket = _bucket(key, heads)
    at = heads[bucket, chain]
    if at == row:
        heads[bucket, chain] = following[row, chain]
        return
    while at >= 0:
        after = following[at, chain]
        if after == row:
            following[at, chain] = following[row, chain]
            return
        at = after


@bare
def _met(ring: Table, groups: Table, state: Links, parent: int, child: int) -> None:
    """Have *parent* and *child* be a call if they are one."""
    caller, kind = ring[parent, KIND], ring[child, KIND]
    calls = caller == _CLIENT or caller == _PRODUCER
    serves = kind == _SERVER or kind == _CONSUMER
    if ring[parent, SERVICE] == ring[child, SERVICE] and not (calls and serves):
        return
    ring[parent, FLAGS] |= ANSWERED
    failed = ring[parent, FAILED] | ring[child, FAILED]
    duration = ring[parent, DURATION] if caller == _CLIENT else ring[child, DURATION]
    messaging = caller == _PRODUCER or kind == _CONSUMER
    _count(
        groups,
        state,
        ring[parent, SERVICE],
        ring[child, SERVICE],
        ring[child, START],
        MESSAGING if messaging else RPC,
        failed,
        duration,
    )


@bare
def _leave(
    ring: Table, heads: Links, following: Links, groups: Table, state: Links, classes: Links
) -> None:
    """Take the oldest span out of the ring, and count what it stood for."""
    row = state[FIRST] % ring.shape[0]
    state[FIRST] += 1
    _unlink(heads, following, BY_ID, ring[row, ID], row)
    kind, flags = ring[row, KIND], ring[row, FLAGS]
    if flags & WAITING:
        _unlink(heads, following, BY_PARENT, ring[row, PARENT], row)
        if kind == _SERVER or kind == _CONSUMER:
            _count(
                groups, state, OUTSIDE, ring[row, SERVICE], ring[row, START],
                MESSAGING if kind == _CONSUMER else RPC, ring[row, FAILED], ring[row, DURATION],
            )  # fmt: skip
    if (kind == _CLIENT or kind == _PRODUCER) and not flags & ANSWERED and ring[row, PEER]:
        _count(
            groups, state, ring[row, SERVICE], ring[row, PEER], ring[row, START],
            classes[np.int64(ring[row, PEER_CLASS])] + VIRTUAL, ring[row, FAILED],
            ring[row, DURATION],
        )  # fmt: skip


@compiled
def expire(
    before_ms: int,
    ring: Table,
    heads: Links,
    following: Links,
    groups: Table,
    state: Links,
    classes: Links,
) -> None:
    """Have all spans leave that came before *before_ms*."""
    while state[FIRST] < state[NEXT]:
        if np.int64(ring[state[FIRST] % ring.shape[0], SEEN_MS]) >= before_ms:
            return
        _leave(ring, heads, following, groups, state, classes)


@bare
def _known(ring: Table, heads: Links, following: Links, span: Table, row: int) -> bool:
    """Whether a span is in the ring already: its sender has sent it twice."""
    at = heads[_bucket(span[row, ID], heads), BY_ID]
    while at >= 0:
        if ring[at, ID] == span[row, ID] and ring[at, KIND] == span[row, KIND]:
            return True
        at = following[at, BY_ID]
    return False


@compiled
def join(
    spans: Table,
    count: int,
    now_ms: int,
    ring: Table,
    heads: Links,
    following: Links,
    groups: Table,
    state: Links,
    classes: Links,
) -> None:
    """Put the first *count* rows of *spans* into the ring, and count the calls that meet."""
    size = ring.shape[0]
    for i in range(count):
        if _known(ring, heads, following, spans, i):
            continue
        if state[NEXT] - state[FIRST] == size:
            state[EARLY] += 1
            _leave(ring, heads, following, groups, state, classes)
        row = state[NEXT] % size
        state[NEXT] += 1
        for column in range(FLAGS):
            ring[row, column] = spans[i, column]
        ring[row, FLAGS], ring[row, SEEN_MS] = _U0, np.uint64(now_ms)
        key, parent = ring[row, ID], ring[row, PARENT]
        bucket = _bucket(key, heads)
        following[row, BY_ID], heads[bucket, BY_ID] = heads[bucket, BY_ID], row
        at = heads[bucket, BY_PARENT]
        while at >= 0:
            after = following[at, BY_PARENT]
            if ring[at, PARENT] == key:
                _unlink(heads, following, BY_PARENT, key, at)
                ring[at, FLAGS] &= ~WAITING
                _met(ring, groups, state, row, at)
            at = after
        kind = ring[row, KIND]
        if parent == _U0:
            if kind == _SERVER or kind == _CONSUMER:
                _count(
                    groups, state, OUTSIDE, ring[row, SERVICE], ring[row, START],
                    MESSAGING if kind == _CONSUMER else RPC, ring[row, FAILED],
                    ring[row, DURATION],
                )  # fmt: skip
            continue
        at = heads[_bucket(parent, heads), BY_ID]
        while at >= 0 and ring[at, ID] != parent:
            at = following[at, BY_ID]
        if at >= 0:
            _met(ring, groups, state, at, row)
        else:
            bucket = _bucket(parent, heads)
            ring[row, FLAGS] |= WAITING
            following[row, BY_PARENT], heads[bucket, BY_PARENT] = heads[bucket, BY_PARENT], row
