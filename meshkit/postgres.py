"""PostgreSQL: a bounded pool, migrations, and lost connections told as `Unavailable`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from datetime import timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from meshkit.errors import Unavailable


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

log = structlog.get_logger()

MIGRATION_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
MIGRATION_LOCK = 0x6D657368  # "mesh": one migrating process per database at a time.
LOST = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # on COMMIT or reset, when the server dies meanwhile
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.TooManyConnectionsError,
    asyncpg.exceptions.ConnectionDoesNotExistError,
)
"""What a query raises when the server is away, starting or going down."""


@contextlib.asynccontextmanager
async def open_pool(
    dsn: str,
    *,
    application_name: str,
    max_size: int = 10,
    command_timeout: timedelta = timedelta(seconds=30),
    wait: timedelta = timedelta(seconds=30),
) -> AsyncIterator[asyncpg.Pool]:
    """
    Open a pool of at most *max_size* connections; closed on leaving.

    Waits up to *wait* for the server to accept connections. JSON columns are Python values.

    Raises:
        Unavailable: The server didn't accept a connection in time.

    """
    deadline = asyncio.get_running_loop().time() + wait.total_seconds()
    delay = 0.05
    while True:
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=max_size,
                command_timeout=command_timeout.total_seconds(),
                init=_prepare,
                server_settings={"application_name": application_name},
            )
            break
        except LOST as error:
            if asyncio.get_running_loop().time() + delay > deadline:
                raise _unavailable() from error
            log.info("postgres_awaited", error=type(error).__name__)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)
    try:
        yield pool
    finally:
        with contextlib.suppress(TimeoutError, *LOST):
            async with asyncio.timeout(2):
                await pool.close()
        pool.terminate()


async def migrate(pool: asyncpg.Pool, package: str) -> list[str]:
    """
    Apply the migrations of *package* that the database doesn't have yet, each in a transaction.

    Args:
        package: Holds files `NNNN_what_it_does.sql`; applied in order, never changed once
            released (their checksums are recorded).

    Returns:
        Names of those applied now.

    Raises:
        ValueError: A migration that was applied has been changed since, or is misnamed.

    """
    scripts = sorted(
        (entry.name, entry.read_text())
        for entry in resources.files(package).iterdir()
        if entry.name.endswith(".sql")
    )
    applied = []
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        try:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations ("
                " name text PRIMARY KEY, checksum text NOT NULL,"
                " apply_time timestamptz NOT NULL DEFAULT now())"
            )
            rows = await connection.fetch("SELECT name, checksum FROM schema_migrations")
            known = {row["name"]: row["checksum"] for row in rows}
            for name, script in scripts:
                if not MIGRATION_NAME.fullmatch(name):
                    raise ValueError(f"{package}: {name} is not named NNNN_what_it_does.sql")
                checksum = hashlib.sha256(script.encode()).hexdigest()
                if known.get(name, checksum) != checksum:
                    raise ValueError(f"{package}: {name} was changed after it had been applied")
                if name in known:
                    continue
                async with connection.transaction():
                    await connection.execute(script)
                    await connection.execute(
                        "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)",
                        name,
                        checksum,
                    )
                applied.append(name)
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
    if applied:
        log.info("migrated", package=package, applied=applied)
    return applied


@contextlib.contextmanager
def unavailable_on_lost_connection() -> Iterator[None]:
    """
    Turn a lost connection inside the block into `Unavailable`.

    What was under way may or may not have been committed: callers repeat it with the
    same `request_id`.
    """
    try:
        yield
    except LOST as error:
        raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable(
        "POSTGRES_UNAVAILABLE",
        "The database is away; repeat the call with the same request_id.",
        retry_after=timedelta(seconds=1),
    )


async def _prepare(connection: asyncpg.Connection[Any]) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
