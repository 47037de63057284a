"""The map's state: names it knows, the ring of spans, and the calls not yet stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.map import join as _join
from telemetry.map.spans import (
    COLUMNS,
    FRESH_MAX,
    OTHER,
    PEER_KEYS,
    UNNAMED,
    extract,
    key_hashes,
    name_hash,
)
from telemetry.scan.hashing import insert_all, xxhash64


if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NAMES_MAX = 10_000
"""Most services and peers, of all tenants; later ones are one, `(other)`."""

GROUPS = 8_192
"""Edges and minutes that wait to be stored: three quarters of it, then calls are lost."""

_NOBODY = np.zeros(1, np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls over one edge that began within one minute."""

    tenant: str
    minute: int
    """Minutes since 1970."""

    client: str
    """Empty: from outside, or from what isn't instrumented."""

    server: str
    kind: int
    """`RPC`, `MESSAGING`, `DATABASE` or `EXTERNAL` of `telemetry.map.join`."""

    virtual: bool
    """Whether nobody answered: the server is what the client's spans call it."""

    calls: int
    errors: int
    duration_ns: int
    """Of all of them."""

    latency: tuple[tuple[int, int], ...]
    """(bucket, calls) of those that aren't empty."""


class Edges:
    """
    Joins spans to calls. To be used from one thread.

    Args:
        spans_max: Spans that may wait for their parents or children at once; a power of two.
        wait_ms: How long they wait.

    """

    def __init__(self, *, spans_max: int = 1 << 18, wait_ms: int = 60_000) -> None:
        size = 1 << (spans_max - 1).bit_length()
        self._wait_ms = wait_ms
        self._ring = np.zeros((size, _join.RING_COLUMNS), np.uint64)
        self._heads = np.full((size, 2), -1, np.int64)
        self._following = np.full((size, 2), -1, np.int64)
        self._groups = np.zeros((GROUPS, _join.G_LATENCY + _join.BUCKETS), np.uint64)
        self._state = np.zeros(5, np.int64)
        self._keys = key_hashes()
        self._classes = np.array([0, *(kind for _, kind in PEER_KEYS)], np.int64)
        self._known = np.zeros(1 << (4 * NAMES_MAX - 1).bit_length(), np.uint64)
        self._names: dict[int, tuple[str, str]] = {}
        self._tenants: dict[str, tuple[np.uint64, np.uint64]] = {}

    @property
    def waiting(self) -> int:
        """Spans that wait."""
        return int(self._state[_join.NEXT] - self._state[_join.FIRST])

    @property
    def gone_early(self) -> int:
        """Spans that had to leave before their time, for want of room."""
        return int(self._state[_join.EARLY])

    @property
    def lost(self) -> int:
        """Calls that found no room among those that wait to be stored."""
        return int(self._state[_join.LOST])

    @property
    def crowded(self) -> bool:
        """Whether `take_calls` is due, since calls will be lost otherwise."""
        return bool(self._state[_join.USED] * 2 > GROUPS)

    def take(self, request: bytes, tenant: str, received_ns: int, rows: int) -> NDArray[np.uint64]:
        """
        Join the *rows* spans that the scanner let in of a checked *request*.

        Returns them, as columns of `telemetry.map.spans`.
        """
        spans = np.zeros((rows, COLUMNS), np.uint64)
        fresh = np.zeros((FRESH_MAX + 1, 3), np.uint64)
        tenant_hash, unnamed = self._tenant(tenant)
        count = extract(
            np.frombuffer(request, np.uint8),
            np.uint64(received_ns),
            tenant_hash,
            unnamed,
            self._keys,
            self._known,
            fresh,
            int(len(self._names) + FRESH_MAX > NAMES_MAX),
            spans,
        )
        for name, start, stop in fresh[1 : int(fresh[0, 0]) + 1].tolist():
            self._learn(np.uint64(name), tenant, request[start:stop].decode(errors="replace"))
        now_ms = received_ns // 1_000_000
        self.expire(now_ms)
        _join.join(
            spans, count, now_ms, self._ring, self._heads, self._following, self._groups,
            self._state, self._classes,
        )  # fmt: skip
        return spans[:count]

    def expire(self, now_ms: int) -> None:
        """Count what those spans stood for that have waited long enough by *now_ms*."""
        _join.expire(
            now_ms - self._wait_ms, self._ring, self._heads, self._following, self._groups,
            self._state, self._classes,
        )  # fmt: skip

    def take_calls(self) -> list[Calls]:
        """Return the calls that were counted since the last time."""
        used = self._groups[self._groups[:, _join.G_CALLS] != 0]
        self._groups[:] = 0
        self._state[_join.USED] = 0
        return [call for row in used if (call := self._calls(row)) is not None]

    def warm(self) -> None:
        """Load or compile the machine code; the first time on a machine takes seconds."""
        self.take(b"", "", 1, 0)

    def _calls(self, row: NDArray[np.uint64]) -> Calls | None:
        client, server, minute, kind, calls, errors, duration_ns = row[: _join.G_LATENCY].tolist()
        latency = row[_join.G_LATENCY :]
        tenant, server_name = self._names.get(server, ("", "(other)"))
        client_name = self._names.get(client, ("", "(other)"))[1]
        if client == int(_join.OUTSIDE):
            client_name = ""
        elif server not in self._names:
            tenant = self._names.get(client, ("", ""))[0]
        buckets = np.flatnonzero(latency)
        return Calls(
            tenant=tenant,
            minute=minute,
            client=client_name,
            server=server_name,
            kind=kind & (_join.VIRTUAL - 1),
            virtual=bool(kind & _join.VIRTUAL),
            calls=calls,
            errors=errors,
            duration_ns=duration_ns,
            latency=tuple(zip(buckets.tolist(), latency[buckets].tolist(), strict=True)),
        )

    def _tenant(self, tenant: str) -> tuple[np.uint64, np.uint64]:
        known = self._tenants.get(tenant)
        if known is None:
            data = np.frombuffer(tenant.encode(), np.uint8) if tenant else _NOBODY
            tenant_hash = np.uint64(xxhash64(data, 0, len(tenant.encode())))
            known = (tenant_hash, name_hash(tenant_hash, UNNAMED))
            if len(self._names) >= NAMES_MAX:
                return tenant_hash, OTHER
            self._tenants[tenant] = known
            self._learn(known[1], tenant, UNNAMED)
        return known

    def _learn(self, name: np.uint64, tenant: str, text: str) -> None:
        if int(name) not in self._names:
            self._names[int(name)] = (tenant, text)
            insert_all(self._known, np.array([name], np.uint64))


def quantile(latency: Sequence[tuple[int, int]], share: float) -> int:
    """
    Return the duration, in nanoseconds, that *share* of the calls in (bucket, calls) don't exceed.

    Within a bucket calls are taken to lie evenly on a logarithmic scale: off by at most 19 %.
    """
    whole = sum(calls for _, calls in latency)
    rank, below = share * whole, 0
    for bucket, calls in sorted(latency):
        if below + calls >= rank and calls:
            part = max(0.0, (rank - below) / calls)
            return int(1000 * 2 ** ((bucket - 1 + part) / 4)) if bucket else int(1000 * part)
        below += calls
    return 0


def upper_bound(bucket: int) -> int:
    """Return the longest duration, in nanoseconds, of a bucket."""
    return int(1000 * 2 ** (bucket / 4))
