"""SQL of the registry: who has registered, and until when."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.model import Endpoint, Health
from gateway.sources.store import endpoint_of
from meshkit.errors import AlreadyExists, Overloaded
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    import asyncpg

    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

PER_SERVICE_MAX: Final = 1_000
REGISTRATIONS_MAX: Final = 20_000
GONE_KEPT: Final = timedelta(minutes=10)
"""How long it is remembered that one is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A replica that registered itself."""

    name: str
    """`services/{service}/registrations/{id}`."""

    service: str
    replica: str
    """Its SPIFFE id."""

    endpoint: Endpoint
    lease: timedelta
    create_time: datetime
    expire_time: datetime
    leaving: bool = False
    gone: bool = False
    seq: int = 0

    @property
    def place(self) -> tuple[str, int]:
        return (self.endpoint.address, self.endpoint.port)


class RegistrationStore:
    """The tables `registrations` and `registry_state`."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def after(self, seq: int) -> Sequence[Registration]:
        """Return what has changed since *seq*, in its order."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT * FROM registrations WHERE seq > $1 ORDER BY seq", seq
            )
        return [_registration(row) for row in rows]

    async def purged(self) -> int:
        """Return the change up to which nothing is known of those that went."""
        with unavailable_on_lost_connection():
            found: int = await self._pool.fetchval("SELECT purged FROM registry_state")
        return found

    async def put(self, wanted: Registration) -> Registration:
        """
        Write a registration, anew or for the first time; returns it as it stands.

        Raises:
            AlreadyExists: ADDRESS_TAKEN.
            Overloaded: TOO_MANY_REGISTRATIONS.

        """
        async with self._change() as (connection, seq):
            counts = await connection.fetchrow(
                "SELECT count(*) AS all, count(*) FILTER (WHERE service = $1) AS of_service,"
                " bool_or(service = $1 AND address = $2 AND port = $3) AS taken"
                " FROM registrations WHERE NOT gone AND name <> $4",
                wanted.service,
                *wanted.place,
                wanted.name,
            )
            assert counts is not None, "an aggregate has a row"
            if counts["taken"]:
                raise AlreadyExists(
                    "ADDRESS_TAKEN", "Another process has registered this address and port."
                )
            if counts["of_service"] >= PER_SERVICE_MAX or counts["all"] >= REGISTRATIONS_MAX:
                raise Overloaded(
                    "TOO_MANY_REGISTRATIONS", "As many replicas are registered as there may be."
                )
            row = await connection.fetchrow(
                "INSERT INTO registrations (name, service, replica, address, port, endpoint,"
                " lease, create_time, expire_time, seq)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, now(), now() + $7, $8)"
                " ON CONFLICT (name) DO UPDATE SET endpoint = excluded.endpoint,"
                " lease = excluded.lease, expire_time = excluded.expire_time, holder = '',"
                " create_time = CASE WHEN registrations.gone THEN now()"
                " ELSE registrations.create_time END,"
                " leaving = false, gone = false, seq = excluded.seq RETURNING *",
                wanted.name,
                wanted.service,
                wanted.replica,
                *wanted.place,
                dataclasses.asdict(wanted.endpoint),
                wanted.lease,
                seq,
            )
        assert row is not None, "it was written"
        return _registration(row)

    async def renew(self, held: Collection[tuple[str, str]]) -> None:
        """Prolong leases by their length from now; pairs of a name and who holds it."""
        with unavailable_on_lost_connection():
            await self._pool.execute(
                "UPDATE registrations r SET expire_time = now() + r.lease, holder = held.holder"
                " FROM (SELECT * FROM unnest($1::text[], $2::text[]) AS t (name, holder)"
                " ORDER BY name) held"
                " WHERE r.name = held.name AND NOT r.gone AND NOT r.leaving",
                [name for name, _ in held],
                [holder for _, holder in held],
            )

    async def drain(self, name: str, wait: timedelta) -> None:
        """Have a registration be draining now, and gone after *wait*."""
        async with self._change() as (connection, seq):
            await connection.execute(
                "UPDATE registrations SET leaving = true, seq = $2, expire_time = now() + $3,"
                " endpoint = jsonb_set(endpoint, '{health}', to_jsonb($4::text))"
                " WHERE name = $1 AND NOT gone",
                name,
                seq,
                wait,
                Health.DRAINING.value,
            )

    async def leave(self, name: str) -> None:
        """Have a registration be gone, by its own word."""
        async with self._change() as (connection, seq):
            await connection.execute(
                "UPDATE registrations SET leaving = true, gone = true, seq = $2, expire_time = now()"
                " WHERE name = $1 AND NOT gone",
                name,
                seq,
            )

    async def end(self, orphans: Collection[tuple[str, str]]) -> None:
        """End registrations whose stream broke, unless somebody else holds them by now."""
        async with self._change() as (connection, seq):
            await connection.execute(
                "UPDATE registrations r SET gone = true, seq = $3, expire_time = now()"
                " FROM unnest($1::text[], $2::text[]) AS orphan (name, holder)"
                " WHERE r.name = orphan.name AND r.holder = orphan.holder"
                " AND NOT r.gone AND NOT r.leaving",
                [name for name, _ in orphans],
                [holder for _, holder in orphans],
                seq,
            )

    async def overdue(self) -> tuple[int, int]:
        """Return how many leases have run out of themselves, and how many registrations are left."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "SELECT count(*) FILTER (WHERE expire_time < now() AND NOT leaving) AS overdue,"
                " count(*) AS all FROM registrations WHERE NOT gone"
            )
        assert row is not None, "an aggregate has a row"
        return row["overdue"], row["all"]

    async def drained(self) -> bool:
        """Return whether some that were draining are done."""
        with unavailable_on_lost_connection():
            found: bool = await self._pool.fetchval(
                "SELECT EXISTS (SELECT FROM registrations"
                " WHERE NOT gone AND leaving AND expire_time < now())"
            )
        return found

    async def expire(self, *, leases: bool) -> None:
        """End those that are done draining, and, with *leases*, those whose lease has run out."""
        async with self._change() as (connection, seq):
            await connection.execute(
                "UPDATE registrations SET gone = true, seq = $1"
                " WHERE NOT gone AND expire_time < now() AND (leaving OR $2)",
                seq,
                leases,
            )

    async def purge(self) -> None:
        """Forget those that have been gone for long."""
        async with self._change() as (connection, _):
            newest = await connection.fetchval(
                "WITH purged AS (DELETE FROM registrations"
                " WHERE gone AND expire_time < now() - $1::interval RETURNING seq) SELECT max(seq) FROM purged",
                GONE_KEPT,
            )
            await connection.execute(
                "UPDATE registry_state SET purged = greatest(purged, $1)", newest or 0
            )

    @contextlib.asynccontextmanager
    async def _change(self) -> AsyncIterator[tuple[Connection, int]]:
        """Yield a transaction and the number of its change; one at a time everywhere."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                seq = await connection.fetchval(
                    "UPDATE registry_state SET seq = seq + 1 RETURNING seq"
                )
                yield connection, seq


def _registration(row: asyncpg.Record) -> Registration:
    return Registration(
        name=row["name"],
        service=row["service"],
        replica=row["replica"],
        endpoint=endpoint_of(row["endpoint"]),
        lease=row["lease"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        leaving=row["leaving"],
        gone=row["gone"],
        seq=row["seq"],
    )
