"""Log records by the segment they came with, and their patterns, in SQL."""

# ruff: noqa: S608 - every value in the SQL is a number or goes through `quote`

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telemetry.filters.fields import LOGS
from telemetry.filters.sql import condition
from telemetry.logs.patterns import masked
from telemetry.store.engine import quote
from telemetry.store.reader import LOG_COLUMNS, log_record
from telemetry.store.sessions import READ_BOUNDS


if TYPE_CHECKING:
    from telemetry.filters.model import Filter
    from telemetry.store.model import Limits, LogRecord
    from telemetry.store.sessions import Sessions

SAMPLE_MAX = 100_000
"""Most records whose patterns are looked for: the newest."""

_BODY_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """Records of one service that differ only in details."""

    pattern: str
    records: int
    severity: int
    first_ns: int
    last_ns: int
    example: LogRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """The patterns with most records, and how many there are of all."""

    found: list[Pattern]
    patterns: int
    records: int
    records_total: int


class LogStore:
    """
    Reads of one store. Safe to use from many tasks.

    Raises `InvalidInput` (`QUERY_TOO_EXPENSIVE`) where the question can't be answered within
    bounds, and `Unavailable` (`STORE_FAILED`).
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def newest_segment(self) -> int:
        """Return the highest segment number that any record has."""
        return int((await self._rows("SELECT max(segment) FROM logs", READ_BOUNDS))[0][0])

    async def came_with(
        self,
        segments: tuple[int, int],
        one: Filter,
        *,
        limit: int,
        tenant: str = "",
        bounds: Limits = READ_BOUNDS,
    ) -> tuple[list[LogRecord], int]:
        """Return the newest of the records above one segment and up to another, and how many."""
        where = (
            f"segment > {segments[0]} AND segment <= {segments[1]}"
            f" AND tenant = {quote(tenant)} AND {condition(one, LOGS)}"
        )
        rows = await self._rows(
            f"SELECT {LOG_COLUMNS} FROM logs WHERE {where} ORDER BY time DESC LIMIT {limit}", bounds
        )
        total = len(rows)
        if total == limit:
            ((total,),) = await self._rows(f"SELECT count() FROM logs WHERE {where}", bounds)
        return [log_record(row) for row in rows], total

    async def patterns(
        self,
        one: Filter,
        times: tuple[int, int],
        *,
        limit: int,
        tenant: str = "",
        bounds: Limits = READ_BOUNDS,
    ) -> Patterns:
        """Return the patterns of the records of a window, in Unix nanoseconds, end exclusive."""
        where = (
            f"tenant = {quote(tenant)} AND time >= fromUnixTimestamp64Nano({times[0]}, 'UTC')"
            f" AND time < fromUnixTimestamp64Nano({times[1]}, 'UTC') AND {condition(one, LOGS)}"
        )
        ((total,),) = await self._rows(f"SELECT count() FROM logs WHERE {where}", bounds)
        columns = (
            "time, service, instance, severity, severity_text, event, trace_id, span_id, scope,"
            " attributes, resource"
        )
        newest = (
            f"SELECT {columns}, cut AS body FROM ("
            f"SELECT {columns}, substringUTF8(body, 1, {_BODY_MAX}) AS cut FROM logs"
            f" WHERE {where} ORDER BY time DESC LIMIT {SAMPLE_MAX})"
        )
        rows = await self._rows(
            f"SELECT {masked('body')} AS pattern, count(), count() OVER (), max(severity),"
            " min(toUnixTimestamp64Nano(time)), max(toUnixTimestamp64Nano(time)),"
            f" argMax(tuple({LOG_COLUMNS}), time) FROM ({newest}) GROUP BY service, pattern"
            f" ORDER BY count() DESC, service, pattern LIMIT {limit}",
            bounds,
        )
        return Patterns(
            found=[
                Pattern(
                    pattern=row[0],
                    records=row[1],
                    severity=row[3],
                    first_ns=row[4],
                    last_ns=row[5],
                    example=log_record(row[6]),
                )
                for row in rows
            ],
            patterns=rows[0][2] if rows else 0,
            records=min(total, SAMPLE_MAX),
            records_total=total,
        )

    async def _rows(self, sql: str, bounds: Limits) -> list[list[Any]]:
        answer = await self._sessions.query(sql, "JSONCompactEachRow", bounds)
        return [json.loads(line) for line in answer.splitlines()]
