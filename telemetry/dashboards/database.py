"""The database of dashboards: opened when it is there, waited for by nobody but its callers."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import FailedPrecondition, Unavailable
from meshkit.postgres import migrate, open_pool, unavailable_on_lost_connection
from telemetry.dashboards.store.dashboards import DashboardStore


if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger()

CONNECTIONS = 2
_READY_WITHIN_S = 5.0
_RETRY_S = 1.0


class Database:
    """
    Stored dashboards. `run` until cancelled.

    Args:
        dsn: PostgreSQL; empty: nothing is stored.

    """

    def __init__(self, dsn: str, *, replica: str) -> None:
        self._dsn = dsn
        self._replica = replica
        self._pool: asyncpg.Pool | None = None
        self._ready = asyncio.Event()

    @property
    def configured(self) -> bool:
        """Whether there is a database at all."""
        return bool(self._dsn)

    async def store(self) -> DashboardStore:
        """Return the stored dashboards; raises FailedPrecondition DASHBOARDS_OFF, Unavailable."""
        return DashboardStore(await self.pool())

    async def pool(self) -> asyncpg.Pool:
        """Return connections to the database; raises as `store` does."""
        if not self._dsn:
            raise FailedPrecondition(
                "DASHBOARDS_OFF", "No database is configured; set TELEMETRY_POSTGRES_DSN."
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_WITHIN_S):
                await self._ready.wait()
        if self._pool is None or not self._ready.is_set():
            raise Unavailable(
                "POSTGRES_UNAVAILABLE",
                "The database is away; repeat the call in a while.",
                retry_after=timedelta(seconds=1),
            )
        return self._pool

    async def run(self) -> None:
        """Open the database once it is there, and keep it open."""
        if not self._dsn:
            return
        async with contextlib.AsyncExitStack() as stack:
            while not self._ready.is_set():
                try:
                    if self._pool is None:
                        self._pool = await stack.enter_async_context(
                            open_pool(
                                self._dsn,
                                application_name=f"telemetry/{self._replica}/dashboards",
                                max_size=CONNECTIONS,
                            )
                        )
                    with unavailable_on_lost_connection():
                        await migrate(self._pool, "telemetry.dashboards.store.migrations")
                    self._ready.set()
                except Unavailable:
                    log.info("dashboards_wait_for_postgres")
                    await asyncio.sleep(_RETRY_S)
            await asyncio.Event().wait()
