"""Traces found by their spans, in SQL."""

# ruff: noqa: S608 - every value in the SQL is a number or goes through `quote`

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telemetry.filters.fields import SPANS
from telemetry.filters.sql import condition
from telemetry.store.sessions import READ_BOUNDS, quote


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.filters.model import Filter
    from telemetry.store.model import Limits
    from telemetry.store.sessions import Sessions

SERVICES_MAX = 100
"""Most services that a summary names."""

_AROUND_NS = 3_600 * 10**9
"""How far from its found spans the others of a trace are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceQuery:
    """Which traces to find: those with a span that *filter* lets through."""

    filter: Filter
    start_ns: int
    """First start of such a span, Unix nanoseconds, inclusive."""

    end_ns: int
    """Last one, exclusive."""

    after: tuple[int, bytes] | None = None
    """`matched_ns` and id of the trace to go on behind."""

    limit: int = 20
    tenant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A trace in short."""

    trace_id: bytes
    root_name: str
    root_service: str
    start_ns: int
    duration_ns: int
    spans: int
    errors: int
    services: tuple[str, ...]
    matched: int
    """Spans that the filter lets through."""

    matched_ns: int
    """Start of the newest of them."""

    matched_duration_ns: int
    matched_status: int
    """The highest; OTLP's ERROR is."""

    weight: float
    """For how many traces it stands."""


class TraceSearch:
    """
    Searches of one store. Safe to use from many tasks.

    Raises `InvalidInput` (`QUERY_TOO_EXPENSIVE`) where the question can't be answered within
    bounds, and `Unavailable` (`STORE_FAILED`).
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def search(self, query: TraceQuery, *, bounds: Limits = READ_BOUNDS) -> list[Summary]:
        """Return the traces that *query* asks for, those with the newest found span first."""
        found = await self._rows(_matches(query), bounds)
        if not found:
            return []
        rows = await self._rows(_summaries(query, found), bounds)
        known = {row[0]: row[1:] for row in rows}
        weights = dict(await self._rows(_weights(found), bounds))
        return [
            Summary(
                trace_id=bytes.fromhex(row[0]),
                matched_ns=row[1],
                matched=row[2],
                matched_duration_ns=row[3],
                matched_status=row[4],
                root_service=rest[0],
                root_name=rest[1],
                start_ns=rest[2],
                duration_ns=rest[3] - rest[2],
                spans=rest[4],
                errors=rest[5],
                services=tuple(sorted(rest[6])),
                weight=weights.get(row[0], 1.0),
            )
            for row in found
            if (rest := known.get(row[0])) is not None
        ]

    async def _rows(self, sql: str, bounds: Limits) -> list[list[Any]]:
        answer = await self._sessions.query(sql, "JSONCompactEachRow", bounds)
        return [json.loads(line) for line in answer.splitlines()]


def _matches(query: TraceQuery) -> str:
    """Return the SQL of (trace, newest start, spans, longest, worst), newest first."""
    having = ""
    if query.after is not None:
        newest, trace = query.after
        having = f" HAVING (newest, trace_id) < ({newest}, unhex('{trace.hex()}'))"
    return (
        "SELECT hex(trace_id), max(toUnixTimestamp64Nano(start)) AS newest, uniqExact(span_id),"
        " max(duration_ns), max(status) FROM spans"
        f" WHERE tenant = {quote(query.tenant)}"
        f" AND start >= fromUnixTimestamp64Nano({query.start_ns}, 'UTC')"
        f" AND start < fromUnixTimestamp64Nano({query.end_ns}, 'UTC')"
        f" AND {condition(query.filter, SPANS)}"
        f" GROUP BY trace_id{having} ORDER BY newest DESC, trace_id DESC LIMIT {query.limit}"
    )


def _summaries(query: TraceQuery, found: Sequence[Sequence[Any]]) -> str:
    ids = ", ".join(f"unhex('{row[0]}')" for row in found)
    times = [row[1] for row in found]
    first, last = max(0, min(times) - _AROUND_NS), min(max(times) + _AROUND_NS, (1 << 63) - 1)
    root = "(parent_span_id != unhex('0000000000000000'), start, span_id)"
    return (
        f"SELECT hex(trace_id), argMin(service, {root}), argMin(name, {root}),"
        " min(toUnixTimestamp64Nano(start)),"
        " max(toUnixTimestamp64Nano(start) + toInt64(duration_ns)), uniqExact(span_id),"
        f" uniqExactIf(span_id, status = 2), groupUniqArray({SERVICES_MAX})(service) FROM spans"
        f" WHERE tenant = {quote(query.tenant)} AND trace_id IN ({ids})"
        f" AND start >= fromUnixTimestamp64Nano({first}, 'UTC')"
        f" AND start <= fromUnixTimestamp64Nano({last}, 'UTC')"
        " GROUP BY trace_id"
    )


def _weights(found: Sequence[Sequence[Any]]) -> str:
    ids = ", ".join(f"unhex('{row[0]}')" for row in found)
    return (
        "SELECT hex(trace_id), max(weight) FROM trace_weights"
        f" WHERE trace_id IN ({ids}) GROUP BY trace_id"
    )
