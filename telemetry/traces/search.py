"""Traces found by their spans, in SQL."""

# ruff: noqa: S608 - every value in the SQL is a number or goes through `quote`

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telemetry.filters.fields import SPANS
from telemetry.filters.sql import condition
from telemetry.store.engine import quote
from telemetry.store.sessions import READ_BOUNDS


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from telemetry.filters.model import Filter
    from telemetry.store.model import Limits
    from telemetry.store.sessions import Sessions

SERVICES_MAX = 100
"""Most services that a summary names."""

_AROUND_NS = 3_600 * 10**9
"""How far from its found spans the others of a trace are looked for."""

_SLICE_NS = 60 * 10**9
_WIDER = 4
"""The newest minute is searched first, then parts of the time before that grow by so much."""


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
        found = await self._found(query, bounds)
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

    async def _found(self, query: TraceQuery, bounds: Limits) -> list[list[Any]]:
        """Return the traces, newest first: slice by slice back, so that little is read for few."""
        found: list[list[Any]] = []
        seen: list[str] = []
        for begin_ns, end_ns in _slices(query):
            missing = query.limit - len(found)
            while missing:
                rows = await self._rows(_newest(query, begin_ns, end_ns, seen, missing), bounds)
                new = [row[0] for row in rows]
                if new:
                    found += await self._rows(_matches(query, new, begin_ns, end_ns), bounds)
                    seen += new
                # Of a page's first traces some may be left out: their newest span is behind it.
                missing = query.limit - len(found) if len(new) == missing else 0
            if len(found) == query.limit:
                break
        return found

    async def _rows(self, sql: str, bounds: Limits) -> list[list[Any]]:
        answer = await self._sessions.query(sql, "JSONCompactEachRow", bounds)
        return [json.loads(line) for line in answer.splitlines()]


def _slices(query: TraceQuery) -> Iterator[tuple[int, int]]:
    """Yield parts of the time that is asked for, the newest first, each longer than the last."""
    end_ns, width_ns = query.end_ns, _SLICE_NS
    if query.after is not None:
        end_ns = min(end_ns, query.after[0] + 1)
    while end_ns > query.start_ns:
        begin_ns = max(query.start_ns, end_ns - width_ns)
        yield begin_ns, end_ns
        end_ns, width_ns = begin_ns, width_ns * _WIDER


def _found_spans(query: TraceQuery, begin_ns: int, end_ns: int) -> str:
    return (
        f" FROM spans WHERE tenant = {quote(query.tenant)}"
        f" AND start >= fromUnixTimestamp64Nano({begin_ns}, 'UTC')"
        f" AND start < fromUnixTimestamp64Nano({end_ns}, 'UTC')"
        f" AND {condition(query.filter, SPANS)}"
    )


def _newest(query: TraceQuery, begin_ns: int, end_ns: int, seen: Sequence[str], limit: int) -> str:
    """Return the SQL of the traces with the newest found spans in a slice, but for those *seen*."""
    others = f" AND trace_id NOT IN ({_ids(seen)})" if seen else ""
    return (
        "SELECT hex(trace_id), max(toUnixTimestamp64Nano(start)) AS newest"
        f"{_found_spans(query, begin_ns, end_ns)}{others}"
        f" GROUP BY trace_id ORDER BY newest DESC, trace_id DESC LIMIT {limit}"
    )


def _matches(query: TraceQuery, traces: Sequence[str], begin_ns: int, end_ns: int) -> str:
    """Return the SQL of (trace, newest start, spans, longest, worst), newest first."""
    begin_ns = max(query.start_ns, begin_ns - _AROUND_NS)
    end_ns = min(query.end_ns, end_ns + _AROUND_NS)
    having = ""
    if query.after is not None:
        newest, trace = query.after
        having = f" HAVING (newest, trace_id) < ({newest}, unhex('{trace.hex()}'))"
    return (
        "SELECT hex(trace_id), max(toUnixTimestamp64Nano(start)) AS newest, uniqExact(span_id),"
        " max(duration_ns), max(status)"
        f"{_found_spans(query, begin_ns, end_ns)} AND trace_id IN ({_ids(traces)})"
        f" GROUP BY trace_id{having} ORDER BY newest DESC, trace_id DESC"
    )


def _summaries(query: TraceQuery, found: Sequence[Sequence[Any]]) -> str:
    times = [row[1] for row in found]
    first, last = max(0, min(times) - _AROUND_NS), min(max(times) + _AROUND_NS, (1 << 63) - 1)
    root = "(parent_span_id != unhex('0000000000000000'), start, span_id)"
    return (
        f"SELECT hex(trace_id), argMin(service, {root}), argMin(name, {root}),"
        " min(toUnixTimestamp64Nano(start)),"
        " max(toUnixTimestamp64Nano(start) + toInt64(duration_ns)), uniqExact(span_id),"
        f" uniqExactIf(span_id, status = 2), groupUniqArray({SERVICES_MAX})(service) FROM spans"
        f" WHERE tenant = {quote(query.tenant)} AND trace_id IN ({_ids([row[0] for row in found])})"
        f" AND start >= fromUnixTimestamp64Nano({first}, 'UTC')"
        f" AND start <= fromUnixTimestamp64Nano({last}, 'UTC')"
        " GROUP BY trace_id"
    )


def _weights(found: Sequence[Sequence[Any]]) -> str:
    return (
        "SELECT hex(trace_id), max(weight) FROM trace_weights"
        f" WHERE trace_id IN ({_ids([row[0] for row in found])}) GROUP BY trace_id"
    )


def _ids(traces: Sequence[str]) -> str:
    return ", ".join(f"unhex('{trace}')" for trace in traces)
