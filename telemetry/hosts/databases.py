"""The databases of a PostgreSQL, in the words of OpenTelemetry's receiver for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, Observation

from meshkit.errors import MeshError
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Awaitable

    import asyncpg
    from opentelemetry.metrics import Meter

READ_EVERY_S = 10.0
DATABASES_MAX = 100

_QUERY = (
    "SELECT datname, numbackends AS backends, xact_commit AS commits, xact_rollback AS rollbacks,"
    " blks_hit, blks_read, deadlocks, temp_bytes,"
    " CASE WHEN has_database_privilege(datname, 'CONNECT') THEN pg_database_size(datname) END"
    " AS db_size FROM pg_stat_database WHERE datname IS NOT NULL"
    " AND datname NOT LIKE 'template%' ORDER BY datname LIMIT $1"
)


class Databases:
    """
    Reads PostgreSQL's statistics each ten seconds while it is there. `run` until cancelled.

    Args:
        pool: Returns the pool of a database; raises what the mesh raises while it is away.

    """

    def __init__(self, pool: Callable[[], Awaitable[asyncpg.Pool]]) -> None:
        self._pool = pool
        self._rows: list[Mapping[str, Any]] = []

    async def run(self) -> None:
        """Read on and on; what can't be read is not told meanwhile."""
        while True:
            try:
                pool = await self._pool()
                with unavailable_on_lost_connection():
                    self._rows = [dict(row) for row in await pool.fetch(_QUERY, DATABASES_MAX)]
            except MeshError:
                self._rows = []
            await asyncio.sleep(READ_EVERY_S)

    def column(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return what observes a column of the statistics, by database."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for row in self._rows:
                if row[name] is not None:
                    yield Observation(row[name], {"postgresql.database.name": row["datname"]})

        return observe

    def publish(self, meter: Meter) -> None:
        """Have *meter* observe what was read."""
        meter.create_observable_gauge(
            "postgresql.backends",
            [self.column("backends")],
            unit="{connection}",
            description="Connections by database",
        )
        meter.create_observable_gauge(
            "postgresql.db_size",
            [self.column("db_size")],
            unit="By",
            description="Size of databases on disk",
        )
        meter.create_observable_counter(
            "postgresql.commits",
            [self.column("commits")],
            unit="{transaction}",
            description="Transactions committed",
        )
        meter.create_observable_counter(
            "postgresql.rollbacks",
            [self.column("rollbacks")],
            unit="{transaction}",
            description="Transactions rolled back",
        )
        meter.create_observable_counter(
            "postgresql.blks_hit",
            [self.column("blks_hit")],
            unit="{block}",
            description="Blocks found in PostgreSQL's memory",
        )
        meter.create_observable_counter(
            "postgresql.blks_read",
            [self.column("blks_read")],
            unit="{block}",
            description="Blocks read from disk or the system's cache",
        )
        meter.create_observable_counter(
            "postgresql.deadlocks",
            [self.column("deadlocks")],
            unit="{deadlock}",
            description="Transactions ended because each waited for another",
        )
        meter.create_observable_counter(
            "postgresql.temp.io",
            [self.column("temp_bytes")],
            unit="By",
            description="Bytes written to temporary files",
        )
