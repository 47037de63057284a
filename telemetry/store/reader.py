"""What the query side may ask the store. Everything is read through here."""

# ruff: noqa: S608 - every value in the SQL is a number or goes through `quote`

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from telemetry.filters.fields import LOGS
from telemetry.filters.sql import condition
from telemetry.store import cardinality
from telemetry.store.engine import quote
from telemetry.store.histograms import read_exemplars, read_histograms
from telemetry.store.model import (
    LogCondition,
    LogCount,
    LogCountQuery,
    LogQuery,
    LogRecord,
    MetricFamily,
    Span,
    SpanEvent,
    SpanLink,
)
from telemetry.store.rolled import read_rollups, rolled_until
from telemetry.store.samples import read_samples
from telemetry.store.series import Selecting, label_of, where
from telemetry.store.sessions import READ_BOUNDS, Sessions
from telemetry.store.values import readable, readable_text


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.store.cardinality import Cardinality
    from telemetry.store.histograms import HistogramSamples, StoredExemplar
    from telemetry.store.model import Limits, Matcher, Samples, Series
    from telemetry.store.rolled import Blocks, Stretch

LOG_COLUMNS = (
    "toUnixTimestamp64Nano(time), service, instance, severity, severity_text, event, body,"
    " hex(trace_id), hex(span_id), scope, attributes, resource"
)
_SPAN_COLUMNS = (
    "hex(trace_id), hex(span_id), hex(parent_span_id), name, service, instance, kind,"
    " toUnixTimestamp64Nano(start), duration_ns, status, status_message, trace_state, scope,"
    " attributes, resource,"
    " arrayMap(t -> toUnixTimestamp64Nano(t), event_times), event_names, event_attributes,"
    " arrayMap(i -> hex(i), link_trace_ids), arrayMap(i -> hex(i), link_span_ids)"
)
SPANS_MAX = 20_000
"""Most spans of one trace; of a larger one the earliest are returned."""


class Reader:
    """
    Reads of one store. Safe to use from many tasks.

    What was acknowledged is found about a second later, when its log segment is loaded.
    Every function raises `InvalidInput` (`QUERY_TOO_EXPENSIVE`, `BAD_REGEX`) where the
    question can't be answered within bounds, and `Unavailable` (`STORE_FAILED`).
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._selecting = Selecting(sessions)

    async def select_series(
        self, matchers: Sequence[Matcher], *, tenant: str = "", bounds: Limits = READ_BOUNDS
    ) -> list[Series]:
        """Return the series that all *matchers* match, ids of equal labels joined."""
        return await self._selecting.select(matchers, tenant=tenant, bounds=bounds)

    async def read_samples(
        self,
        series: Sequence[Series],
        *,
        start_ms: int,
        end_ms: int,
        bounds: Limits = READ_BOUNDS,
    ) -> Samples:
        """Return the samples of *series* from *start_ms* to *end_ms*, both inclusive."""
        return await read_samples(
            self._sessions, series, start_ms=start_ms, end_ms=end_ms, bounds=bounds
        )

    async def read_histograms(
        self,
        series: Sequence[Series],
        *,
        start_ms: int,
        end_ms: int,
        bounds: Limits = READ_BOUNDS,
    ) -> HistogramSamples:
        """Return the native histograms of *series* in that time, both ends inclusive."""
        return await read_histograms(
            self._sessions, series, start_ms=start_ms, end_ms=end_ms, bounds=bounds
        )

    async def read_exemplars(
        self, series: Sequence[Series], *, start_ms: int, end_ms: int
    ) -> list[StoredExemplar]:
        """Return the exemplars of *series* in that time, by series and rising time."""
        return await read_exemplars(self._sessions, series, start_ms=start_ms, end_ms=end_ms)

    async def rolled_until(self, series: Sequence[Series]) -> int:
        """Return until when *series* are rolled up, Unix milliseconds; 0: they aren't."""
        return await rolled_until(self._sessions, series)

    async def read_rollups(
        self, series: Sequence[Series], spans: Sequence[Stretch], columns: Sequence[str]
    ) -> Blocks:
        """Return *columns* of what *series* come to in *spans*; see `rollups`."""
        return await read_rollups(self._sessions, series, spans, columns)

    async def label_names(self, matchers: Sequence[Matcher] = (), *, tenant: str = "") -> list[str]:
        """Return the names of all labels of the matching series, sorted."""
        rows = await self._rows(
            "SELECT DISTINCT arrayJoin(mapKeys(labels)) AS label FROM series"
            f" WHERE {where(matchers, tenant)} ORDER BY label"
        )
        return [label for (label,) in rows]

    async def label_values(
        self, label: str, matchers: Sequence[Matcher] = (), *, tenant: str = ""
    ) -> list[str]:
        """Return all values of *label* among the matching series, sorted."""
        rows = await self._rows(
            f"SELECT DISTINCT {label_of(label)} AS value FROM series"
            f" WHERE {where(matchers, tenant)} AND value != '' ORDER BY value"
        )
        return [value for (value,) in rows]

    async def metric_families(self, name: str = "", *, tenant: str = "") -> list[MetricFamily]:
        """Return what is known of the metric *name*, or of all; a histogram is its parts."""
        only = f" AND name = {quote(name)}" if name else ""
        rows = await self._rows(
            "SELECT name, any(kind), any(unit), any(description) FROM series"
            f" WHERE tenant = {quote(tenant)}{only} GROUP BY name ORDER BY name"
        )
        return [
            MetricFamily(name=row[0], kind=row[1], unit=row[2], description=row[3]) for row in rows
        ]

    async def cardinality(self, top: int, *, tenant: str = "") -> Cardinality:
        """Return what there are most series and label values of, the *top* of each."""
        return await cardinality.read(self._sessions, top, tenant=tenant)

    async def search_logs(
        self, query: LogQuery, *, bounds: Limits = READ_BOUNDS
    ) -> list[LogRecord]:
        """Return the newest records that match *query*, newest first."""
        conditions = _of_logs(query)
        if query.severity_min:
            conditions.append(f"severity >= {query.severity_min}")
        if query.trace_id:
            conditions.append(f"trace_id = unhex('{query.trace_id.hex()}')")
        if query.filter is not None:
            conditions.append(condition(query.filter, LOGS))
        if query.text:
            conditions.append(f"positionCaseInsensitiveUTF8(body, {quote(query.text)}) > 0")
        for name, value in query.attributes.items():
            conditions.append(
                f"(attributes[{quote(name)}] = {quote(value)}"
                f" OR resource[{quote(name)}] = {quote(value)})"
            )
        rows = await self._rows(
            f"SELECT {LOG_COLUMNS} FROM logs WHERE {' AND '.join(conditions)}"
            f" ORDER BY time DESC LIMIT {query.limit}",
            bounds,
        )
        return [log_record(row) for row in rows]

    async def count_logs(
        self, query: LogCountQuery, *, bounds: Limits = READ_BOUNDS
    ) -> tuple[list[LogCount], int]:
        """Return the largest groups of the records that match *query*, and how many there are."""
        conditions = _of_logs(query) + [_of_attribute(one) for one in query.conditions]
        values = ", ".join(f"toString(attributes[{quote(name)}])" for name in query.group_by)
        length = query.interval_ns
        began = f"intDiv(toUnixTimestamp64Nano(time), {length}) * {length}" if length else "0"
        apart = f"countIf({_of_attribute(query.apart)})" if query.apart is not None else "0"
        rows = await self._rows(
            f"SELECT [{values}]::Array(String) AS grouped, toString({began}) AS began,"
            " toString(count()) AS records, toString(toUnixTimestamp64Nano(min(time))),"
            f" toString(toUnixTimestamp64Nano(max(time))), toString({apart}), toString(count() OVER ())"
            f" FROM logs WHERE {' AND '.join(conditions)} GROUP BY grouped, began"
            f" ORDER BY count() DESC, grouped, began LIMIT {query.limit}",
            bounds,
        )
        counts = [
            LogCount(
                values=tuple(row[0]),
                interval_start_ns=int(row[1]),
                records=int(row[2]),
                first_ns=int(row[3]),
                last_ns=int(row[4]),
                apart=int(row[5]),
            )
            for row in rows
        ]
        return counts, int(rows[0][6]) if rows else 0

    async def trace(
        self, trace_id: bytes, *, tenant: str = "", bounds: Limits = READ_BOUNDS
    ) -> list[Span]:
        """Return the spans of a trace by rising start, each once; none if it is unknown."""
        rows = await self._rows(
            f"SELECT {_SPAN_COLUMNS} FROM spans"
            f" WHERE trace_id = unhex('{trace_id.hex()}') AND tenant = {quote(tenant)}"
            f" ORDER BY start, span_id LIMIT 1 BY span_id LIMIT {SPANS_MAX}",
            bounds,
        )
        return [
            Span(
                trace_id=_bytes(row[0]),
                span_id=_bytes(row[1]),
                parent_span_id=_bytes(row[2]),
                name=row[3],
                service=row[4],
                instance=row[5],
                kind=row[6],
                start_ns=row[7],
                duration_ns=row[8],
                status=row[9],
                status_message=row[10],
                trace_state=row[11],
                scope=row[12],
                attributes=readable(row[13]),
                resource=readable(row[14]),
                events=tuple(
                    SpanEvent(time_ns=at, name=name, attributes=readable(attributes))
                    for at, name, attributes in zip(row[15], row[16], row[17], strict=True)
                ),
                links=tuple(
                    SpanLink(trace_id=_bytes(trace), span_id=_bytes(span))
                    for trace, span in zip(row[18], row[19], strict=True)
                ),
            )
            for row in rows
        ]

    async def _rows(self, sql: str, bounds: Limits = READ_BOUNDS) -> list[list[Any]]:
        answer = await self._sessions.query(sql, "JSONCompactEachRow", bounds)
        return [json.loads(line) for line in answer.splitlines()]


def log_record(row: Sequence[Any]) -> LogRecord:
    """Return the record that *row*, of `LOG_COLUMNS`, is."""
    return LogRecord(
        time_ns=row[0],
        service=row[1],
        instance=row[2],
        severity=row[3],
        severity_text=row[4],
        event=row[5],
        body=readable_text(row[6]),
        trace_id=_bytes(row[7]),
        span_id=_bytes(row[8]),
        scope=row[9],
        attributes=readable(row[10]),
        resource=readable(row[11]),
    )


def _of_logs(query: LogQuery | LogCountQuery) -> list[str]:
    """Return the conditions that the order of the table serves."""
    conditions = [
        f"tenant = {quote(query.tenant)}",
        f"time >= fromUnixTimestamp64Nano({query.start_ns}, 'UTC')",
        f"time < fromUnixTimestamp64Nano({query.end_ns}, 'UTC')",
    ]
    return conditions + ([f"service = {quote(query.service)}"] if query.service else [])


def _of_attribute(condition: LogCondition) -> str:
    value = f"attributes[{quote(condition.attribute)}]"
    any_of = [f"startsWith({value}, {quote(prefix)})" for prefix in condition.prefixes]
    if condition.values:
        any_of.append(f"{value} IN ({', '.join(map(quote, condition.values))})")
    found = " OR ".join(any_of) or "0"
    return f"NOT ({found})" if condition.negated else f"({found})"


def _bytes(text: str) -> bytes:
    """Return an id from *text*; one of zeros only is none."""
    raw = bytes.fromhex(text)
    return raw if any(raw) else b""
