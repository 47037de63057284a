"""What telemetry keeps in PostgreSQL, as files of CSV."""

# ruff: noqa: S608 - names of our tables

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from meshkit.errors import FailedPrecondition
from meshkit.postgres import migrate, open_pool, unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncpg

TABLES = (
    "rule_groups",
    "rule_clock",
    "alerts",
    "silences",
    "routing",
    "alert_groups",
    "objectives",
    "incidents",
    "incident_events",
    "dashboards",
    "dashboard_revisions",
)
"""All but `alert_lease`: who tells of alerts now, which is nobody of a backup."""
MIGRATIONS = ("telemetry.alerts.store.migrations", "telemetry.dashboards.store.migrations")


async def save(dsn: str, folder: Path) -> None:
    """
    Write all rows, as of one moment, into *folder*.

    Raises:
        Unavailable: POSTGRES_UNAVAILABLE.

    """
    await asyncio.to_thread(folder.mkdir)
    async with (
        _opened(dsn) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        for table in TABLES:
            await connection.copy_from_table(
                table, output=folder / f"{table}.csv", format="csv", header=True
            )


async def put_back(dsn: str, folder: Path) -> None:
    """
    Make the tables what *folder* says, whole or not at all.

    Raises:
        FailedPrecondition: STATE_NOT_EMPTY: there is something in them.
        Unavailable: POSTGRES_UNAVAILABLE.

    """
    async with _opened(dsn) as connection, connection.transaction():
        for table in TABLES:
            if await connection.fetchval(f"SELECT count(*) FROM {table}"):
                raise FailedPrecondition(
                    "STATE_NOT_EMPTY",
                    f"PostgreSQL's table {table} isn't empty; restore into a new database.",
                )
            path = folder / f"{table}.csv"
            header, *_ = (await asyncio.to_thread(path.read_text)).split("\n", 1)
            columns = header.strip().split(",")
            await connection.copy_to_table(
                table, source=path, columns=columns, format="csv", header=True
            )
        # What is inserted next takes no number that a restored row has.
        await connection.execute(
            "SELECT setval(pg_get_serial_sequence('incident_events', 'seq'),"
            " GREATEST(1, (SELECT max(seq) FROM incident_events)))"
        )


@contextlib.asynccontextmanager
async def _opened(dsn: str) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    pooling = open_pool(dsn, application_name="telemetry/backup", max_size=1)
    with unavailable_on_lost_connection():
        async with pooling as pool:
            for package in MIGRATIONS:
                await migrate(pool, package)
            async with pool.acquire() as connection:
                yield connection
