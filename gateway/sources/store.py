"""SQL of what sources found, so that a gateway that starts knows it before they answer."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from gateway.model import Endpoint, Health, Locality
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import asyncpg

Row = tuple[str, str, tuple[Endpoint, ...]]
"""A service's name, how its discovery is described, and what was found by that."""


class FoundStore:
    """The table `found_endpoints`."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def load(self) -> dict[str, dict[str, tuple[Endpoint, ...]]]:
        """Return what was found last: by service, and by how its discovery was described."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch("SELECT * FROM found_endpoints")
        found: dict[str, dict[str, tuple[Endpoint, ...]]] = {}
        for row in rows:
            endpoints = tuple(endpoint_of(one) for one in row["endpoints"])
            found.setdefault(row["service"], {})[row["discovery"]] = endpoints
        return found

    async def save(self, rows: Sequence[Row], gone: Collection[str]) -> None:
        """Remember *rows*, and nothing of the services in *gone*."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.executemany(
                    "INSERT INTO found_endpoints (service, discovery, endpoints, update_time)"
                    " VALUES ($1, $2, $3, now()) ON CONFLICT (service) DO UPDATE"
                    " SET discovery = excluded.discovery, endpoints = excluded.endpoints,"
                    " update_time = excluded.update_time",
                    # In one order, so that gateways don't wait for one another in a circle.
                    sorted(
                        (name, discovery, [dataclasses.asdict(one) for one in endpoints])
                        for name, discovery, endpoints in rows
                    ),
                )
                await connection.execute(
                    "DELETE FROM found_endpoints WHERE service = ANY($1)", sorted(gone)
                )


def endpoint_of(content: dict[str, Any]) -> Endpoint:
    """Return the endpoint that `dataclasses.asdict` made *content* of."""
    return Endpoint(
        **{
            **content,
            "health": Health(content["health"]),
            "locality": Locality(**content["locality"]),
        }
    )
