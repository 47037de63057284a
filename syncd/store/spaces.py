"""Spaces themselves, the devices that use them, and remembered requests, in SQL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from meshkit.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    MeshError,
    NotFound,
    Overloaded,
)
from meshkit.postgres import unavailable_on_lost_connection
from syncd.store import rows


if TYPE_CHECKING:
    from syncd.limits import Limits
    from syncd.model import Access, Schema, Space

SPACE_TABLES = ("records", "cells", "journal", "mutations", "confirmations")

log = structlog.get_logger()

Connection = Any
"""An asyncpg connection, or the pool's stand-in for one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What makes repeating a change safe; nothing is remembered if `request_id` is empty."""

    tenant: str
    request_id: str
    digest: bytes


class SpaceStore:
    """Spaces by name and by key."""

    def __init__(self, pool: asyncpg.Pool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits

    async def get(self, tenant: str, space_id: str) -> Space:
        """
        Return the space as it is now.

        Raises:
            NotFound: There is none.

        """
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "SELECT * FROM spaces WHERE tenant = $1 AND space_id = $2",
                tenant,
                space_id,
            )
        if row is None:
            raise not_found(tenant, space_id)
        return rows.space(row)

    async def by_keys(self, keys: list[int]) -> dict[int, Space]:
        """Return those of the spaces that still exist."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch("SELECT * FROM spaces WHERE space_key = ANY($1)", keys)
        return {row["space_key"]: rows.space(row) for row in found}

    async def page(self, tenant: str, after: str, size: int) -> list[Space]:
        """Return up to *size* spaces of *tenant* whose id comes behind *after*."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM spaces"
                " WHERE tenant = $1 AND space_id > $2 ORDER BY space_id LIMIT $3",
                tenant,
                after,
                size,
            )
        return [rows.space(row) for row in found]

    async def create(
        self,
        connection: Connection,
        *,
        tenant: str,
        space_id: str,
        display_name: str,
        schema: Schema,
        access: Access,
    ) -> Space:
        """Insert a space. Raises `AlreadyExists`, or `Overloaded` if the tenant has too many."""
        count = await connection.fetchval("SELECT count(*) FROM spaces WHERE tenant = $1", tenant)
        if count >= self._limits.spaces_per_tenant_max:
            raise Overloaded(
                "SPACES_TOO_MANY",
                "The tenant has as many spaces as it may have; delete some.",
                retry_after=timedelta(hours=1),
            )
        row = await connection.fetchrow(
            "INSERT INTO spaces (tenant, space_id, display_name, schema, access)"
            " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
            " RETURNING *",
            tenant,
            space_id,
            display_name,
            rows.schema_document(schema),
            rows.access_document(access),
        )
        if row is None:
            raise AlreadyExists(
                "SPACE_EXISTS", "There is a space of this name.", space=space_id, tenant=tenant
            )
        return rows.space(row)

    async def lock(self, connection: Connection, tenant: str, space_id: str, etag: str) -> Space:
        """Return the space, locked until the transaction ends. Raises `NotFound`, `Conflict`."""
        row = await connection.fetchrow(
            "SELECT * FROM spaces WHERE tenant = $1 AND space_id = $2 FOR UPDATE",
            tenant,
            space_id,
        )
        if row is None:
            raise not_found(tenant, space_id)
        space = rows.space(row)
        if etag and etag != f"{space.space_key:x}.{space.version:x}":
            raise Conflict(
                "ETAG_MISMATCH",
                "The space was changed since; read it again and repeat the change.",
                space=space.name,
            )
        return space

    async def update(
        self,
        connection: Connection,
        space_key: int,
        *,
        display_name: str,
        schema: Schema,
        access: Access,
    ) -> Space:
        """Change a space that `lock` returned."""
        row = await connection.fetchrow(
            "UPDATE spaces SET display_name = $2, schema = $3, access = $4,"
            " version = version + 1, update_time = now() WHERE space_key = $1"
            " RETURNING *",
            space_key,
            display_name,
            rows.schema_document(schema),
            rows.access_document(access),
        )
        return rows.space(row)

    async def delete(self, connection: Connection, space_key: int) -> None:
        """Remove a space that `lock` returned, with all it has."""
        for table in SPACE_TABLES:
            await connection.execute(f"DELETE FROM {table} WHERE space_key = $1", space_key)  # noqa: S608 - our own names
        await connection.execute("DELETE FROM spaces WHERE space_key = $1", space_key)

    async def owner(self, tenant: str, device: str, subject: str) -> str:
        """Return whose *device* is; *subject*'s from now on if nobody's so far."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetchval(
                "SELECT subject FROM devices WHERE tenant = $1 AND device = $2", tenant, device
            )
            if found is not None:
                return str(found)
            return str(
                await self._pool.fetchval(
                    "INSERT INTO devices (tenant, device, subject) VALUES ($1, $2, $3)"
                    " ON CONFLICT (tenant, device) DO UPDATE SET subject = devices.subject"
                    " RETURNING subject",
                    tenant,
                    device,
                    subject,
                )
            )

    async def answered(self, connection: Connection, request: Request) -> bytes | None:
        """
        Return the answer this request has had already, if so.

        Raises:
            InvalidInput: The id was used for something else.

        """
        if not request.request_id:
            return None
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            f"{request.tenant}/{request.request_id}",
        )
        row = await connection.fetchrow(
            "SELECT digest, answer FROM requests WHERE tenant = $1 AND request_id = $2",
            request.tenant,
            request.request_id,
        )
        if row is None:
            return None
        if row["digest"] != request.digest:
            raise InvalidInput(
                "REQUEST_ID_REUSED",
                "Another request had this request_id; use a new one.",
                field_violations={"request_id": "used for another request"},
            )
        return bytes(row["answer"])

    async def remember(self, connection: Connection, request: Request, answer: bytes) -> None:
        """Keep *answer* for repetitions of *request*."""
        if request.request_id:
            await connection.execute(
                "INSERT INTO requests (tenant, request_id, digest, answer) VALUES ($1, $2, $3, $4)",
                request.tenant,
                request.request_id,
                request.digest,
                answer,
            )

    async def sweep(self) -> None:
        """Remove what is older than it is kept."""
        results = timedelta(days=self._limits.result_days)
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "DELETE FROM requests WHERE answer_time < now() - $1::interval",
                    timedelta(hours=self._limits.request_hours),
                )
                await connection.execute(
                    "DELETE FROM journal WHERE decide_time < now() - $1::interval", results
                )
                await connection.execute(
                    "WITH old AS (DELETE FROM mutations WHERE decide_time < now() - $1::interval"
                    " RETURNING space_key, device, number)"
                    " INSERT INTO confirmations (space_key, device, through)"
                    " SELECT space_key, device, max(number) FROM old GROUP BY space_key, device"
                    " ON CONFLICT (space_key, device) DO UPDATE"
                    " SET through = greatest(confirmations.through, excluded.through)",
                    results,
                )


def not_found(tenant: str, space_id: str) -> NotFound:
    return NotFound(
        "SPACE_NOT_FOUND",
        "There is no such space, or the caller may not read it.",
        space=f"tenants/{tenant}/spaces/{space_id}",
    )


async def sweep_forever(store: SpaceStore, every: timedelta) -> None:
    """Sweep at start and then *every* so often, until cancelled."""
    while True:
        try:
            await store.sweep()
        except MeshError as error:
            log.info("sweep_awaited", reason=error.reason)
        await asyncio.sleep(every.total_seconds())
