"""
Which replica of the gateway decides on strict limits: the one that holds the lease.

There is at most one: who holds it stops deciding before the lease ends by PostgreSQL's clock, and
nobody else gets it before that.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from meshkit.errors import Unavailable
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

LEASE_S: Final = 6.0
RENEWED_EACH_S: Final = 1.5
_MARGIN_S: Final = 1.0
"""How long before its end a lease is no longer relied on: clocks run at different speeds."""

_TAKE = """
INSERT INTO limit_owner (replica, address, expire_time)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (one) DO UPDATE SET replica = $1, address = $2, expire_time = excluded.expire_time
WHERE limit_owner.replica = $1 OR limit_owner.expire_time < clock_timestamp()
RETURNING true
"""
_READ = "SELECT address FROM limit_owner WHERE expire_time > clock_timestamp()"
_LEAVE = "DELETE FROM limit_owner WHERE replica = $1"

log = structlog.get_logger(__name__)


class Owner:
    """
    The lease, as one replica sees it.

    Args:
        replica: This one; no two have the same name.
        wanted: Whether there is anything to decide.
        lost: Called when another may decide now.

    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        *,
        replica: str,
        wanted: Callable[[], bool],
        lost: Callable[[], None],
    ) -> None:
        self.address = ""
        """Where this replica is asked; set once it listens."""

        self.other = ""
        """Where the owner is asked, if it is another replica; "" if that isn't known."""

        self._pool = pool
        self._replica = replica
        self._wanted = wanted
        self._lost = lost
        self._until = 0.0
        self._held = False
        self._asking = asyncio.Lock()

    @property
    def is_ours(self) -> bool:
        """Whether this replica decides, at this moment."""
        return time.monotonic() < self._until

    async def find(self) -> None:
        """
        Take the lease if it is free, or find out whose it is.

        Raises:
            Unavailable: The database is away.

        """
        async with self._asking:
            if self.is_ours:
                return
            await self._take()

    async def run(self) -> None:
        """Keep the lease or look for its end, until cancelled; then it is free for others."""
        try:
            while True:
                await asyncio.sleep(RENEWED_EACH_S)
                if not self._wanted() or not self.address:
                    continue
                try:
                    async with self._asking:
                        await self._take()
                except Unavailable as error:
                    log.warning("limit_owner_unknown", reason=error.reason)
        finally:
            await self._leave()

    async def _take(self) -> None:
        before = time.monotonic()
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                ours = await connection.fetchval(_TAKE, self._replica, self.address, LEASE_S)
                other = None if ours else await connection.fetchval(_READ)
        if self._held and (not ours or before > self._until):
            # Somebody else may have decided in between: what is remembered here is stale.
            self._lost()
        if ours:
            self._until = before + LEASE_S - _MARGIN_S
        else:
            self._until = 0.0
        if bool(ours) != self._held:
            log.info("limit_owner", ours=bool(ours), other=other or "")
        self._held, self.other = bool(ours), other or ""

    async def _leave(self) -> None:
        if not self._held:
            return
        self._until = 0.0
        try:
            async with asyncio.timeout(1), self._pool.acquire() as connection:
                await connection.execute(_LEAVE, self._replica)
        except Exception as error:  # noqa: BLE001 - it ends by itself
            log.info("limit_owner_not_left", error=str(error))
