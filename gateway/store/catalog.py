"""SQL of the catalog: reads, and the one transaction in which a change happens."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gateway.model import Catalog
from gateway.store import audit
from gateway.store.change import Change
from gateway.store.rows import (
    OBJECTS,
    REVISIONS,
    ChangeMade,
    Revision,
    Stored,
    revision_of,
    stored_of,
)
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    import asyncpg

    from gateway.store.change import Connection

__all__ = ["CatalogStore", "Change", "ChangeMade", "Revision", "Stored"]


class CatalogStore:
    """The catalog in PostgreSQL."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def load(self) -> Catalog:
        """Return the whole catalog as of one revision."""
        with unavailable_on_lost_connection():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                revision = await connection.fetchval("SELECT revision FROM catalog_state")
                rows = await connection.fetch(OBJECTS)
        return Catalog.of(revision, (stored_of(row).value for row in rows))

    async def after(self, revision: int, limit: int) -> list[Revision]:
        """Return the revisions that follow *revision*, at most *limit*, oldest first."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                f"{REVISIONS} WHERE r.revision > $1 ORDER BY r.revision LIMIT $2", revision, limit
            )
        return [revision_of(row) for row in rows]

    async def as_of(self, revision: int) -> dict[str, Stored] | None:
        """
        Return the catalog at *revision* by name, 0 for the newest; None: it isn't there yet.

        Descriptor sets are with it.
        """
        with unavailable_on_lost_connection():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                newest = await connection.fetchval("SELECT revision FROM catalog_state")
                if revision > newest:
                    return None
                rows = await connection.fetch(
                    "SELECT * FROM (SELECT DISTINCT ON (r.object) r.*, d.content AS descriptor_set"
                    " FROM revisions r LEFT JOIN descriptor_sets d"
                    " ON d.sha256 = r.content->>'descriptor_set'"
                    " WHERE r.revision <= $1 ORDER BY r.object, r.revision DESC) newest"
                    " WHERE action <> 'delete'",
                    revision or newest,
                )
        found = (revision_of(row).stored for row in rows)
        return {one.value.name: one for one in found if one is not None}

    async def get(self, name: str) -> Stored | None:
        """Return one object, or None."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(f"{OBJECTS} WHERE o.name = $1", name)
        return stored_of(row) if row else None

    async def page(self, kind: str, prefix: str, after: str, limit: int) -> list[Stored]:
        """Return objects of *kind* named *prefix*..., behind *after*; without descriptor sets."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT *, NULL::bytea AS descriptor_set FROM objects WHERE kind = $1"
                " AND starts_with(name, $2) AND name > $3 ORDER BY name LIMIT $4",
                kind,
                prefix,
                after,
                limit,
            )
        return [stored_of(row) for row in rows]

    async def objects(self, prefix: str, after: str, limit: int) -> tuple[int, list[Stored]]:
        """Return the newest revision, and objects named *prefix*..., behind *after*."""
        with unavailable_on_lost_connection():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                revision = await connection.fetchval("SELECT revision FROM catalog_state")
                rows = await connection.fetch(
                    "SELECT *, NULL::bytea AS descriptor_set FROM objects"
                    " WHERE starts_with(name, $1) AND name > $2 ORDER BY name LIMIT $3",
                    prefix,
                    after,
                    limit,
                )
        return revision, [stored_of(row) for row in rows]

    async def revision(self) -> int:
        """Return the newest revision."""
        with unavailable_on_lost_connection():
            found: int = await self._pool.fetchval("SELECT revision FROM catalog_state")
        return found

    async def change_of(self, revision: int) -> ChangeMade | None:
        """Return the change that *revision* is part of; None: there is no such revision."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT r.revision, r.object, r.actor, r.create_time, c.state, c.reason"
                " FROM revisions r LEFT JOIN canaries c ON c.revision = r.revision"
                " WHERE r.revision = $1 OR r.change_first ="
                " (SELECT change_first FROM revisions WHERE revision = $1) ORDER BY r.revision",
                revision,
            )
        if not rows:
            return None
        return ChangeMade(
            first=rows[0]["revision"],
            last=rows[-1]["revision"],
            actor=rows[0]["actor"],
            create_time=rows[0]["create_time"],
            objects=tuple(row["object"] for row in rows),
            canary=rows[-1]["state"] or "",
            reason=rows[-1]["reason"] or "",
        )

    async def history(self, name: str, before: int | None, limit: int) -> list[Revision]:
        """Return revisions newest first, below *before*; of every object if *name* is empty."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                "SELECT *, NULL::bytea AS descriptor_set FROM revisions"
                " WHERE ($1 = '' OR object = $1) AND ($2::bigint IS NULL OR revision < $2)"
                " ORDER BY revision DESC LIMIT $3",
                name,
                before,
                limit,
            )
        return [revision_of(row) for row in rows]

    @contextlib.asynccontextmanager
    async def change(
        self,
        actor: str,
        committed: Callable[[Sequence[Revision]], None] | None = None,
        *,
        names: Iterable[str] = (),
    ) -> AsyncIterator[Change]:
        """
        Open the transaction of a change; no other runs at the same time, on any replica.

        Args:
            committed: Called with what was made as soon as that is durable; not if nothing was.
            names: Objects that it will look at: read with the rest, for each trip is a wait.

        Raises:
            Unavailable: The database is away; the change may or may not have happened.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                async with _locked(connection):
                    change = await Change.open(connection, actor=actor, names=names)
                    yield change
                    await change.flush()
                # Before the connection goes back, which takes a round trip.
                if committed is not None and change.made:
                    committed(change.made)


_LOCK = f"""
BEGIN;
SELECT FROM catalog_state FOR UPDATE;
SELECT pg_advisory_xact_lock({audit.CHAIN_LOCK})
"""


@contextlib.asynccontextmanager
async def _locked(connection: Connection) -> AsyncIterator[None]:
    """
    Open a transaction that holds the locks of the catalog and the audit log: one round trip.

    `connection.transaction()` would take one more. What is read afterwards is read under the locks.
    """
    try:
        await connection.execute(_LOCK)
        yield
    except BaseException:
        await connection.execute("ROLLBACK")
        raise
    if await connection.execute("COMMIT") != "COMMIT":
        raise RuntimeError("an error in the transaction was passed over")
