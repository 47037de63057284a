"""The lease in the database, by its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from datetime import timedelta

    import asyncpg


class LeaseStore:
    """Who tells. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def take(self, replica: str, length: timedelta) -> str:
        """Take or keep the lease for *length* if no other has it; return who has it now."""
        with unavailable_on_lost_connection():
            holder = await self._pool.fetchval(
                "INSERT INTO alert_lease (holder, until) VALUES ($1, now() + $2::interval)"
                " ON CONFLICT (single) DO UPDATE SET holder = $1, until = now() + $2::interval"
                " WHERE alert_lease.holder = $1 OR alert_lease.until < now() RETURNING holder",
                replica,
                length,
            )
            if holder is None:
                holder = await self._pool.fetchval("SELECT holder FROM alert_lease")
        return str(holder or "")

    async def release(self, replica: str) -> None:
        """Let another take the lease at once, if *replica* has it."""
        with unavailable_on_lost_connection():
            await self._pool.execute("DELETE FROM alert_lease WHERE holder = $1", replica)
