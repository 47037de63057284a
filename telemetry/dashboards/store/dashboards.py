"""Dashboards and their revisions, in PostgreSQL."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshkit.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

_READ = "SELECT id, revision, spec, etag, create_time, update_time FROM dashboards"
REVISIONS_MAX = 200
"""Revisions kept of each dashboard; older ones go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A dashboard as it is, or was, stored."""

    id: str
    revision: int
    spec: Mapping[str, Any]
    etag: str
    create_time: datetime | None
    update_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One change of a dashboard."""

    revision: int
    author: str
    create_time: datetime
    deleted: bool
    title: str


def not_found(dashboard: str) -> NotFound:
    """Return the error of a dashboard that there isn't."""
    return NotFound(
        "DASHBOARD_NOT_FOUND", f"There is no dashboard {dashboard!r}.", dashboard=dashboard
    )


def etag_of(spec: Mapping[str, Any]) -> str:
    """Return a hash of the content."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class DashboardStore:
    """Reads and writes dashboards. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def all(self, tenant: str) -> list[Stored]:
        """Return all dashboards by id."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(f"{_READ} WHERE tenant = $1 ORDER BY id", tenant)
        return [_stored(row) for row in rows]

    async def get(self, tenant: str, dashboard: str) -> Stored | None:
        """Return a dashboard as it is, None if there is none."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                f"{_READ} WHERE tenant = $1 AND id = $2", tenant, dashboard
            )
        return None if row is None else _stored(row)

    async def at(self, tenant: str, dashboard: str, revision: int) -> Stored:
        """Return a dashboard as it was; raises `NotFound` DASHBOARD_NOT_FOUND."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "SELECT id, revision, spec, etag, create_time, create_time AS update_time"
                " FROM dashboard_revisions WHERE tenant = $1 AND id = $2 AND revision = $3",
                tenant, dashboard, revision,
            )  # fmt: skip
        if row is None:
            raise not_found(f"{dashboard}@{revision}")
        return _stored(row)

    async def revisions(
        self, tenant: str, dashboard: str, *, before: int, limit: int
    ) -> list[Revision]:
        """Return up to *limit* revisions older than *before*, the newest first."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT revision, author, create_time, deleted, spec ->> 'title' AS title"
                " FROM dashboard_revisions WHERE tenant = $1 AND id = $2 AND revision < $3"
                " ORDER BY revision DESC LIMIT $4",
                tenant, dashboard, before, limit,
            )  # fmt: skip
        return [
            Revision(
                revision=row["revision"],
                author=row["author"],
                create_time=row["create_time"],
                deleted=row["deleted"],
                title=row["title"] or "",
            )
            for row in rows
        ]

    async def create(
        self, tenant: str, dashboard: str, spec: Mapping[str, Any], *, request_id: str,
        author: str, now: datetime,
    ) -> Stored:  # fmt: skip
        """
        Make a dashboard; a repeat with the same *request_id* and content returns it.

        Raises:
            AlreadyExists: DASHBOARD_EXISTS.
            InvalidInput: REQUEST_ID_REUSED.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await _lock(connection, tenant, dashboard)
                there = await connection.fetchrow(
                    f"{_READ} WHERE tenant = $1 AND id = $2", tenant, dashboard
                )
                if there is None:
                    return await _write(
                        connection, tenant, dashboard, spec,
                        request_id=request_id, author=author, now=now,
                    )  # fmt: skip
                known = await connection.fetchval(
                    "SELECT request_id FROM dashboards WHERE tenant = $1 AND id = $2",
                    tenant, dashboard,
                )  # fmt: skip
        if not request_id or known != request_id:
            raise AlreadyExists(
                "DASHBOARD_EXISTS",
                f"There is a dashboard {dashboard!r} already.",
                dashboard=dashboard,
            )
        if there["etag"] != etag_of(spec):
            raise InvalidInput(
                "REQUEST_ID_REUSED",
                "The request_id came with another request before; make a new one.",
                request_id=request_id,
            )
        return _stored(there)

    async def update(
        self, tenant: str, dashboard: str, spec: Mapping[str, Any], *, etag: str,
        base_etag: str, missing_ok: bool, author: str, now: datetime,
    ) -> Stored:  # fmt: skip
        """
        Change a dashboard as a whole.

        Args:
            etag: What the caller has read; "" if it doesn't matter.
            base_etag: Etag of what stands there while none is stored; "" if nothing does.

        Raises:
            NotFound: DASHBOARD_NOT_FOUND.
            Conflict: ETAG_MISMATCH.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await _lock(connection, tenant, dashboard)
                row = await connection.fetchrow(
                    f"{_READ} WHERE tenant = $1 AND id = $2", tenant, dashboard
                )
                current = row["etag"] if row is not None else base_etag
                if not current and not missing_ok:
                    raise not_found(dashboard)
                _check(dashboard, etag, current)
                if row is not None and row["etag"] == etag_of(spec):
                    return _stored(row)
                return await _write(
                    connection, tenant, dashboard, spec, request_id="", author=author, now=now
                )

    async def delete(
        self, tenant: str, dashboard: str, *, etag: str, author: str, now: datetime
    ) -> bool:
        """Delete a dashboard; return whether there was one. Raises `Conflict` ETAG_MISMATCH."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                await _lock(connection, tenant, dashboard)
                row = await connection.fetchrow(
                    f"{_READ} WHERE tenant = $1 AND id = $2", tenant, dashboard
                )
                if row is None:
                    return False
                _check(dashboard, etag, row["etag"])
                await connection.execute(
                    "DELETE FROM dashboards WHERE tenant = $1 AND id = $2", tenant, dashboard
                )
                await _note(
                    connection, tenant, dashboard, row["spec"], row["revision"] + 1,
                    author=author, now=now, deleted=True,
                )  # fmt: skip
        return True


def _check(dashboard: str, etag: str, current: str) -> None:
    if etag and etag != current:
        raise Conflict(
            "ETAG_MISMATCH",
            f"Dashboard {dashboard!r} has been changed since; read it again.",
            dashboard=dashboard,
        )


async def _lock(connection: Connection, tenant: str, dashboard: str) -> None:
    """Have changes of one dashboard come one after another until the transaction's end."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 24))", f"{tenant}/{dashboard}"
    )


async def _write(
    connection: Connection, tenant: str, dashboard: str, spec: Mapping[str, Any], *,
    request_id: str, author: str, now: datetime,
) -> Stored:  # fmt: skip
    last = await connection.fetchval(
        "SELECT max(revision) FROM dashboard_revisions WHERE tenant = $1 AND id = $2",
        tenant, dashboard,
    )  # fmt: skip
    revision = (last or 0) + 1
    row = await connection.fetchrow(
        "INSERT INTO dashboards"
        " (tenant, id, revision, spec, etag, request_id, create_time, update_time)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (tenant, id) DO UPDATE SET"
        " revision = $3, spec = $4, etag = $5, update_time = $7"
        " RETURNING id, revision, spec, etag, create_time, update_time",
        tenant, dashboard, revision, dict(spec), etag_of(spec), request_id, now,
    )  # fmt: skip
    await _note(
        connection, tenant, dashboard, spec, revision, author=author, now=now, deleted=False
    )
    assert row is not None
    return _stored(row)


async def _note(
    connection: Connection, tenant: str, dashboard: str, spec: Mapping[str, Any], revision: int,
    *, author: str, now: datetime, deleted: bool,
) -> None:  # fmt: skip
    await connection.execute(
        "INSERT INTO dashboard_revisions"
        " (tenant, id, revision, spec, etag, author, create_time, deleted)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        tenant, dashboard, revision, dict(spec), etag_of(spec), author, now, deleted,
    )  # fmt: skip
    await connection.execute(
        "DELETE FROM dashboard_revisions WHERE tenant = $1 AND id = $2 AND revision <= $3",
        tenant, dashboard, revision - REVISIONS_MAX,
    )  # fmt: skip


def _stored(row: asyncpg.Record) -> Stored:
    return Stored(
        id=row["id"],
        revision=row["revision"],
        spec=row["spec"],
        etag=row["etag"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
