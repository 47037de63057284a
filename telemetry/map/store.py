"""The table `edges_1m`: calls written as they are joined, and read as edges."""

# ruff: noqa: S608 - every value in the SQL is a number or goes through `quote`

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.store.engine import quote
from telemetry.store.sessions import READ_BOUNDS


if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.map.edges import Calls
    from telemetry.store.model import Limits
    from telemetry.store.sessions import Sessions

EDGES_MAX = 5_000
"""Most edges of one answer, those with most calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Calls over one edge in a window of time."""

    client: str
    server: str
    kind: int
    virtual: bool
    calls: int
    errors: int
    duration_ns: int
    latency: tuple[tuple[int, int], ...]
    """(bucket, calls), by rising bucket."""


class EdgeStore:
    """Writes and reads of one store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def write(self, calls: Sequence[Calls]) -> None:
        """
        Store *calls*, durably.

        Raises:
            StoreFailed: ClickHouse refused; some may be there.

        """
        if calls:
            rows = ", ".join(map(_row, calls))
            await self._sessions.insert(f"INSERT INTO edges_1m VALUES {rows}")

    async def read(
        self,
        start_minute: int,
        end_minute: int,
        *,
        service: str = "",
        tenant: str = "",
        bounds: Limits = READ_BOUNDS,
    ) -> list[Edge]:
        """
        Return the edges of the minutes from *start_minute* to before *end_minute*, since 1970.

        Raises:
            InvalidInput: QUERY_TOO_EXPENSIVE.
            Unavailable: STORE_FAILED.

        """
        name = quote(service)
        only = f" AND (client = {name} OR server = {name})" if service else ""
        answer = await self._sessions.query(
            "SELECT client, server, toInt8(kind), min(virtual), sum(calls), sum(errors),"
            " sum(duration_ns), sumMap(latencyMap.bucket, latencyMap.calls) FROM edges_1m"
            f" WHERE tenant = {quote(tenant)} AND minute >= toDateTime({start_minute * 60}, 'UTC')"
            f" AND minute < toDateTime({end_minute * 60}, 'UTC'){only}"
            " GROUP BY client, server, kind"
            f" ORDER BY sum(calls) DESC, client, server LIMIT {EDGES_MAX}",
            "JSONCompactEachRow",
            bounds,
        )
        return [
            Edge(
                client=row[0],
                server=row[1],
                kind=row[2],
                virtual=bool(row[3]),
                calls=row[4],
                errors=row[5],
                duration_ns=row[6],
                latency=tuple(zip(*row[7], strict=True)),
            )
            for row in map(json.loads, answer.splitlines())
        ]


def _row(one: Calls) -> str:
    buckets = ",".join(str(bucket) for bucket, _ in one.latency)
    calls = ",".join(str(count) for _, count in one.latency)
    return (
        f"({one.minute * 60}, {quote(one.tenant)}, {quote(one.client)}, {quote(one.server)},"
        f" {one.kind}, {int(one.virtual)}, {one.calls}, {one.errors}, {one.duration_ns},"
        f" [{buckets}], [{calls}])"
    )
