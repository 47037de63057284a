"""SQL of one change of the catalog: everything in it happens, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.kinds import BY_CLASS
from gateway.model import Object, Service
from gateway.store import audit, codec
from gateway.store.rows import OBJECTS, REVISIONS, Answered, Stored, digest, revision_of, stored_of


if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

REQUEST_IDS_KEPT: Final = timedelta(hours=24)
_PURGED_AT_ONCE = 100


class Change:
    """The transaction of a change. Everything in it happens, or nothing."""

    def __init__(self, connection: Connection, *, actor: str, revision: int) -> None:
        self.revision = revision
        """The newest revision, those of this change included."""
        self.first = revision + 1
        """The first revision of this change, once there is one."""

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
        row = await self._connection.fetchrow(f"{OBJECTS} WHERE o.name = $1", name)
        return stored_of(row) if row else None

    async def as_of(self, name: str, revision: int) -> Stored | None:
        """Return an object as *revision* left it; None: deleted."""
        row = await self._connection.fetchrow(
            f"{REVISIONS} WHERE r.object = $1 AND r.revision <= $2"
            " ORDER BY r.revision DESC LIMIT 1",
            name,
            revision,
        )
        return revision_of(row).stored if row else None

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

    async def referring(self, name: str) -> list[str]:
        """Return the objects that need *name*, as destination or otherwise."""
        rows = await self._connection.fetch(
            "SELECT name FROM objects WHERE kind = 'route' AND (content @> $2 OR content @> $3)"
            " UNION ALL SELECT name FROM objects"
            " WHERE kind = ANY($4) AND jsonb_path_exists(content, '$.** ? (@ == $name)', $1)"
            " ORDER BY name",
            {"name": name},
            {"destinations": [{"service": name}]},
            {"mirrors": [{"service": name}]},
            ["host", "policy", "limit"],
        )
        return [row["name"] for row in rows]

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the objects that begin with *prefix*, in order."""
        rows = await self._connection.fetch(
            "SELECT name FROM objects WHERE starts_with(name, $1) ORDER BY name", prefix
        )
        return [row["name"] for row in rows]

    async def routes_of(self, service: str) -> list[Stored]:
        """Return a service's routes."""
        rows = await self._connection.fetch(
            f"{OBJECTS} WHERE o.kind = 'route' AND starts_with(o.name, $1) ORDER BY o.name",
            f"{service}/routes/",
        )
        return [stored_of(row) for row in rows]

    async def described(self, *, but: str) -> list[Service]:
        """Return the other services that have a JSON API."""
        rows = await self._connection.fetch(
            f"{OBJECTS} WHERE o.kind = 'service' AND o.name <> $1"
            " AND o.content->>'descriptor_set' <> '' ORDER BY o.name",
            but,
        )
        services = [stored_of(row).value for row in rows]
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
            etag=f"{self.revision:x}-{digest(content)[:8]}",
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
            " object_create_time, create_time, change_first)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            self.revision,
            name,
            action,
            content,
            after.etag if after else None,
            self._actor,
            subject.create_time,
            self._now,
            self.first,
        )
        await audit.record(
            self._connection,
            actor=self._actor,
            action=f"catalog.{action}",
            resource=name,
            detail={
                "revision": self.revision,
                "before": digest(codec.encode(before.value)) if before else None,
                "after": digest(content) if content is not None else None,
            },
        )
