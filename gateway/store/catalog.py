"""SQL of the catalog: reads, and the one transaction in which a change happens."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.kinds import BY_CLASS, kind_of
from gateway.model import Catalog, Object, Service
from gateway.store import audit, codec
from meshkit.postgres import unavailable_on_lost_connection


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]
    Row = asyncpg.Record

REQUEST_IDS_KEPT = timedelta(hours=24)
_PURGED_AT_ONCE = 100

_OBJECTS = (
    "SELECT o.*, d.content AS descriptor_set FROM objects o"
    " LEFT JOIN descriptor_sets d ON d.sha256 = o.content->>'descriptor_set'"
)
_REVISIONS = (
    "SELECT r.*, d.content AS descriptor_set FROM revisions r"
    " LEFT JOIN descriptor_sets d ON d.sha256 = r.content->>'descriptor_set'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as it stands in the catalog."""

    value: Object
    etag: str
    revision: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One change of one object."""

    revision: int
    object: str
    action: str
    """`create`, `update` or `delete`."""

    stored: Stored | None
    """The object as the change left it; None: deleted."""

    actor: str
    create_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What an earlier request with the same id came to."""

    digest: bytes
    object: str
    revision: int


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
                rows = await connection.fetch(_OBJECTS)
        return Catalog.of(revision, (_stored(row).value for row in rows))

    async def after(self, revision: int, limit: int) -> list[Revision]:
        """Return the revisions that follow *revision*, at most *limit*, oldest first."""
        with unavailable_on_lost_connection():
            rows = await self._pool.fetch(
                f"{_REVISIONS} WHERE r.revision > $1 ORDER BY r.revision LIMIT $2", revision, limit
            )
        return [_revision(row) for row in rows]

    async def get(self, name: str) -> Stored | None:
        """Return one object, or None."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(f"{_OBJECTS} WHERE o.name = $1", name)
        return _stored(row) if row else None

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
        return [_stored(row) for row in rows]

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
        return [_revision(row) for row in rows]

    @contextlib.asynccontextmanager
    async def change(self, actor: str) -> AsyncIterator[Change]:
        """
        Open the transaction of a change; no other runs at the same time, on any replica.

        Raises:
            Unavailable: The database is away; the change may or may not have happened.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                revision = await connection.fetchval(
                    "SELECT revision FROM catalog_state FOR UPDATE"
                )
                yield Change(connection, actor=actor, revision=revision)


class Change:
    """The transaction of a change. Everything in it happens, or nothing."""

    def __init__(self, connection: Connection, *, actor: str, revision: int) -> None:
        self.revision = revision
        """The newest revision, those of this change included."""
        self._connection = connection
        self._actor = actor
        self._now = datetime.now(UTC)

    async def answered(self, request_id: str) -> Answered | None:
        """Return what the actor's earlier request with this id came to."""
        row = await self._connection.fetchrow(
            "SELECT digest, object, revision FROM request_ids"
            " WHERE actor = $1 AND request_id = $2 AND create_time > $3",
            self._actor,
            request_id,
            self._now - REQUEST_IDS_KEPT,
        )
        return Answered(**row) if row else None

    async def answer(self, request_id: str, digest: bytes, name: str, revision: int) -> None:
        """Remember what a request came to, and forget some that are too old."""
        await self._connection.execute(
            "DELETE FROM request_ids WHERE (actor, request_id) IN"
            " (SELECT actor, request_id FROM request_ids WHERE create_time <= $1 LIMIT $2)",
            self._now - REQUEST_IDS_KEPT,
            _PURGED_AT_ONCE,
        )
        await self._connection.execute(
            "INSERT INTO request_ids (actor, request_id, digest, object, revision, create_time)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (actor, request_id) DO UPDATE SET"
            " digest = $3, object = $4, revision = $5, create_time = $6",
            self._actor,
            request_id,
            digest,
            name,
            revision,
            self._now,
        )

    async def get(self, name: str) -> Stored | None:
        """Return one object, or None."""
        row = await self._connection.fetchrow(f"{_OBJECTS} WHERE o.name = $1", name)
        return _stored(row) if row else None

    async def as_of(self, name: str, revision: int) -> Stored | None:
        """Return an object as *revision* left it; None: deleted."""
        row = await self._connection.fetchrow(
            f"{_REVISIONS} WHERE r.object = $1 AND r.revision <= $2"
            " ORDER BY r.revision DESC LIMIT 1",
            name,
            revision,
        )
        return _revision(row).stored if row else None

    async def count(self, kind: str) -> int:
        """Return how many objects of *kind* there are."""
        found: int = await self._connection.fetchval(
            "SELECT count(*) FROM objects WHERE kind = $1", kind
        )
        return found

    async def offering(self, grpc_services: Sequence[str], *, but: str) -> list[tuple[str, str]]:
        """Return which of *grpc_services* other services offer: (gRPC service, service)."""
        rows = await self._connection.fetch(
            "SELECT offered, o.name FROM objects o,"
            " jsonb_array_elements_text(o.content->'grpc_services') offered"
            " WHERE o.kind = 'service' AND o.name <> $2 AND offered = ANY($1) ORDER BY 1",
            list(grpc_services),
            but,
        )
        return [(row["offered"], row["name"]) for row in rows]

    async def sending_to(self, service: str) -> list[str]:
        """Return the routes of which *service* is a destination."""
        rows = await self._connection.fetch(
            "SELECT name FROM objects WHERE kind = 'route' AND content @> $1 ORDER BY name",
            {"destinations": [{"service": service}]},
        )
        return [row["name"] for row in rows]

    async def routes_of(self, service: str) -> list[Stored]:
        """Return a service's routes."""
        rows = await self._connection.fetch(
            f"{_OBJECTS} WHERE o.kind = 'route' AND starts_with(o.name, $1) ORDER BY o.name",
            f"{service}/routes/",
        )
        return [_stored(row) for row in rows]

    async def described(self, *, but: str) -> list[Service]:
        """Return the other services that have a JSON API."""
        rows = await self._connection.fetch(
            f"{_OBJECTS} WHERE o.kind = 'service' AND o.name <> $1"
            " AND o.content->>'descriptor_set' <> '' ORDER BY o.name",
            but,
        )
        services = [_stored(row).value for row in rows]
        return [one for one in services if isinstance(one, Service) and one.json_prefixes]

    async def put(self, before: Stored | None, value: Object) -> Stored:
        """Make the object be *value*: the next revision."""
        if isinstance(value, Service) and value.descriptor_set:
            await self._connection.execute(
                "INSERT INTO descriptor_sets (sha256, content) VALUES ($1, $2)"
                " ON CONFLICT DO NOTHING",
                codec.descriptor_hash(value),
                value.descriptor_set,
            )
        content = codec.encode(value)
        self.revision += 1
        stored = Stored(
            value=value,
            etag=f"{self.revision:x}-{_digest(content)[:8]}",
            revision=self.revision,
            create_time=before.create_time if before else self._now,
            update_time=self._now,
        )
        await self._connection.execute(
            "INSERT INTO objects (name, kind, content, etag, revision, create_time, update_time)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET"
            " content = $3, etag = $4, revision = $5, update_time = $7",
            value.name,
            BY_CLASS[type(value)].key,
            content,
            stored.etag,
            stored.revision,
            stored.create_time,
            stored.update_time,
        )
        await self._append("update" if before else "create", before, stored, content)
        return stored

    async def delete(self, before: Stored) -> int:
        """Remove the object: the next revision, which is returned."""
        self.revision += 1
        await self._connection.execute("DELETE FROM objects WHERE name = $1", before.value.name)
        await self._append("delete", before, None, None)
        return self.revision

    async def _append(
        self,
        action: str,
        before: Stored | None,
        after: Stored | None,
        content: dict[str, Any] | None,
    ) -> None:
        """Write the revision and its audit record."""
        subject = after or before
        assert subject is not None, "a change has an object"
        name = subject.value.name
        await self._connection.execute("UPDATE catalog_state SET revision = $1", self.revision)
        await self._connection.execute(
            "INSERT INTO revisions (revision, object, action, content, etag, actor,"
            " object_create_time, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            self.revision,
            name,
            action,
            content,
            after.etag if after else None,
            self._actor,
            subject.create_time,
            self._now,
        )
        await audit.record(
            self._connection,
            actor=self._actor,
            action=f"catalog.{action}",
            resource=name,
            detail={
                "revision": self.revision,
                "before": _digest(codec.encode(before.value)) if before else None,
                "after": _digest(content) if content is not None else None,
            },
        )


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _stored(row: Row) -> Stored:
    return Stored(
        value=codec.decode(row["kind"], row["name"], row["content"], row["descriptor_set"] or b""),
        etag=row["etag"],
        revision=row["revision"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def _revision(row: Row) -> Revision:
    name = row["object"]
    stored = None
    if row["content"] is not None:
        stored = Stored(
            value=codec.decode(
                kind_of(name).key, name, row["content"], row["descriptor_set"] or b""
            ),
            etag=row["etag"],
            revision=row["revision"],
            create_time=row["object_create_time"],
            update_time=row["create_time"],
        )
    return Revision(
        revision=row["revision"],
        object=name,
        action=row["action"],
        stored=stored,
        actor=row["actor"],
        create_time=row["create_time"],
    )
