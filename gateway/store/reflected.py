"""Descriptors that services told of themselves, so that a start needn't wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg


class ReflectedStore:
    """The newest descriptors of each service. They are a copy: the services are the truth."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def load(self) -> Mapping[str, bytes]:
        """
        Return the descriptor sets by the services' names; of those that are there still.

        Raises:
            Unavailable: The database is away.

        """
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT r.service, r.descriptor_set FROM reflected_descriptors r"
                " JOIN objects o ON o.name = r.service"
            )
        return {row["service"]: row["descriptor_set"] for row in rows}

    async def put(self, service: str, descriptor_set: bytes) -> None:
        """
        Keep what *service* told, and forget what services told that are gone.

        Raises:
            Unavailable: The database is away.

        """
        with unavailable_on_lost_connection():
            await self._pool.execute(
                "INSERT INTO reflected_descriptors (service, descriptor_set) VALUES ($1, $2)"
                " ON CONFLICT (service) DO UPDATE"
                " SET descriptor_set = EXCLUDED.descriptor_set, update_time = now()",
                service,
                descriptor_set,
            )
            await self._pool.execute(
                "DELETE FROM reflected_descriptors r"
                " WHERE NOT EXISTS (SELECT FROM objects o WHERE o.name = r.service)"
            )
