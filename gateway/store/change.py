"""SQL of one change of the catalog: everything in it happens, or nothing."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from gateway.kinds import BY_CLASS
from gateway.model import Object, Service
from gateway.store import audit, canaries, codec, pending
from gateway.store.canaries import CanaryRow
from gateway.store.pending import Pending
from gateway.store.rows import (
    OBJECTS,
    REVISIONS,
    Answered,
    Revision,
    Stored,
    api_of,
    digest,
    revision_of,
    stored_of,
)


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

REQUEST_IDS_KEPT: Final = timedelta(hours=24)
_PURGED_AT_ONCE = 100
_LAST: Final = "\U0010ffff"
"""Behind every character of a name."""

_STATE: Final = (
    "SELECT s.revision AS newest, s.canary, t.seq, t.hash, o.* FROM catalog_state s"  # noqa: S608
    " LEFT JOIN LATERAL (SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1) t ON true"
    f" LEFT JOIN ({OBJECTS} WHERE o.name = ANY($1)) o ON true"
)
"""What every change begins with, and the objects named."""


class Change:
    """
    The transaction of a change. Everything in it happens, or nothing.

    What is put and deleted is written together, at the end or when a question to the database
    could depend on it.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        actor: str,
        revision: int,
        canary: int | None = None,
        within: Change | None = None,
    ) -> None:
        self.canary = canary
        """The last revision of a change that some edges have first, if there is one."""

        self.revision = revision
        """The newest revision, those of this change included."""
        self.first = revision + 1
        """The first revision of this change, once there is one."""

        self.committed: int = within.committed if within is not None else revision
        """The newest revision that stays, whatever comes of this change."""

        self.described: dict[str, bytes] = dict(within.described) if within is not None else {}
        """Descriptor sets of the JSON APIs that this change wrote, by the service's name; empty
        where there is none any more."""

        self.made: list[Revision] = []
        """What this change made, oldest first."""

        self._connection = connection
        self.actor = actor
        """Who makes it."""

        self._now = datetime.now(UTC)
        self._known: dict[str, Stored | None] = {}
        """Objects as they are by now; None: not there."""

        self._counts: dict[str, int] = {}
        self._pending: dict[str, Pending] = {}
        self._sets: dict[str, bytes] = {}
        self._tail: audit.Tail | None = None
        self._told: dict[str, Any] | None = None
        """Which edges have it first, as revisions keep it."""

    @classmethod
    async def open(cls, connection: Connection, *, actor: str, names: Iterable[str]) -> Change:
        """Begin in a transaction that holds the locks of the catalog and the audit log."""
        wanted = list(dict.fromkeys(names))
        rows = await connection.fetch(_STATE, wanted)
        state = rows[0]
        made = cls(connection, actor=actor, revision=state["newest"], canary=state["canary"])
        made._tail = audit.Tail(state["seq"], state["hash"]) if state["seq"] else audit.EMPTY
        made._known.update(dict.fromkeys(wanted))
        made._known.update({row["name"]: stored_of(row) for row in rows if row["name"]})
        return made

    def have_first(self, edges: Collection[str]) -> None:
        """Have all that this change is going to make reach *edges* first; `begin_canary` follows."""
        assert not self.made, "comes first"
        self._told = {"edges": list(edges)}

    async def begin_canary(self, rules: dict[str, float]) -> None:
        """Have what this change has made be watched, and judged by *rules*."""
        assert self._told is not None, "follows have_first"
        await self.flush()
        await canaries.begin(
            self._connection,
            first=self.first,
            last=self.revision,
            edges=self._told["edges"],
            rules=rules,
            now=self._now,
        )
        self.canary = self.revision

    async def end_canary(self, state: str, reason: str) -> None:
        """Let what some edges had first be for all, or no more; with an audit record."""
        assert self.canary is not None, "there is one"
        await self.flush()
        await canaries.end(
            self._connection,
            self.canary,
            state=state,
            reason=reason,
            end_revision=self.revision if self.made else 0,
            now=self._now,
        )
        await audit.record(
            self._connection,
            actor=self.actor,
            action=f"canary.{state}",
            resource=f"changes/{self.canary}",
            detail={"reason": reason},
        )
        self._tail = None
        self.canary = None

    async def watched(self) -> tuple[CanaryRow, dict[str, Object | None]]:
        """Return the change that some edges have first, and what its objects were before it."""
        assert self.canary is not None, "there is one"
        await self.flush()
        row = await canaries.read(self._connection, self.canary)
        return row, await canaries.before(self._connection, row.first_revision, row.revision)

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[Change]:
        """Open a change on top of this one of which nothing stays."""
        await self.flush()
        await self._connection.execute("SAVEPOINT attempt")
        try:
            yield Change(self._connection, actor=self.actor, revision=self.revision, within=self)
        finally:
            await self._connection.execute("ROLLBACK TO SAVEPOINT attempt")

    async def answered(self, request_id: str) -> Answered | None:
        """Return what the actor's earlier request with this id came to."""
        row = await self._connection.fetchrow(
            "SELECT digest, object, revision FROM request_ids"
            " WHERE actor = $1 AND request_id = $2 AND create_time > $3",
            self.actor,
            request_id,
            self._now - REQUEST_IDS_KEPT,
        )
        return Answered(**row) if row else None

    async def answer(self, request_id: str, digest: bytes, name: str, revision: int) -> None:
        """Remember what a request came to, and forget some that are too old."""
        await self._connection.execute(
            "WITH old AS (DELETE FROM request_ids WHERE (actor, request_id) IN"
            " (SELECT actor, request_id FROM request_ids"
            " WHERE create_time <= $7 AND (actor, request_id) <> ($1, $2) LIMIT $8))"
            " INSERT INTO request_ids (actor, request_id, digest, object, revision, create_time)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (actor, request_id) DO UPDATE SET"
            " digest = $3, object = $4, revision = $5, create_time = $6",
            self.actor,
            request_id,
            digest,
            name,
            revision,
            self._now,
            self._now - REQUEST_IDS_KEPT,
            _PURGED_AT_ONCE,
        )

    async def load(self, names: Iterable[str]) -> None:
        """Read these objects at once, for `get`; they need not be there."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._known]
        if wanted:
            rows = await self._connection.fetch(f"{OBJECTS} WHERE o.name = ANY($1)", wanted)
            self._known.update(dict.fromkeys(wanted))
            self._known.update({row["name"]: stored_of(row) for row in rows})

    async def get(self, name: str) -> Stored | None:
        """Return one object, or None."""
        await self.load((name,))
        return self._known[name]

    async def as_of(self, name: str, revision: int) -> Stored | None:
        """Return an object as *revision* left it; None: deleted."""
        await self.flush()
        row = await self._connection.fetchrow(
            f"{REVISIONS} WHERE r.object = $1 AND r.revision <= $2"
            " ORDER BY r.revision DESC LIMIT 1",
            name,
            revision,
        )
        return revision_of(row).stored if row else None

    async def count(self, kind: str) -> int:
        """Return how many objects of *kind* there are."""
        if kind not in self._counts:
            await self.flush()
            self._counts[kind] = await self._connection.fetchval(
                "SELECT count(*) FROM objects WHERE kind = $1", kind
            )
        return self._counts[kind]

    async def offering(self, grpc_services: Sequence[str], *, but: str) -> list[tuple[str, str]]:
        """Return which of *grpc_services* other services offer: (gRPC service, service)."""
        await self.flush()
        rows = await self._connection.fetch(
            "SELECT offered, o.name FROM objects o,"
            " jsonb_array_elements_text(o.content->'grpc_services') offered"
            " WHERE o.kind = 'service' AND o.content->'grpc_services' ?| $1 AND o.name <> $2"
            " AND offered = ANY($1) ORDER BY 1",
            list(grpc_services),
            but,
        )
        return [(row["offered"], row["name"]) for row in rows]

    async def claiming(self, domains: Sequence[str], *, but: str) -> list[tuple[str, str]]:
        """Return which of *domains* other hosts have: (domain, host)."""
        await self.flush()
        rows = await self._connection.fetch(
            "SELECT claimed, o.name FROM objects o,"
            " jsonb_array_elements_text(o.content->'domains') claimed"
            " WHERE o.kind = 'host' AND o.content->'domains' ?| $1 AND o.name <> $2"
            " AND claimed = ANY($1) ORDER BY 1",
            list(domains),
            but,
        )
        return [(row["claimed"], row["name"]) for row in rows]

    async def referring(self, name: str) -> list[str]:
        """Return the objects that need *name*, as destination or otherwise."""
        await self.flush()
        rows = await self._connection.fetch(
            "SELECT name FROM objects WHERE kind = 'route' AND content->'destinations' @> $2"
            " UNION SELECT name FROM objects WHERE kind = 'route'"
            " AND content->'mirrors' <> '[]' AND content->'mirrors' @> $2"
            " UNION SELECT name FROM objects"
            " WHERE kind = ANY($3) AND jsonb_path_exists(content, '$.** ? (@ == $name)', $1)"
            " ORDER BY name",
            {"name": name},
            [{"service": name}],
            ["host", "policy", "limit"],
        )
        return [row["name"] for row in rows]

    async def names(self, prefix: str) -> list[str]:
        """Return the names of the objects that begin with *prefix*, in order."""
        await self.flush()
        rows = await self._connection.fetch(
            "SELECT name FROM objects WHERE name >= $1 AND name < $2 ORDER BY name",
            prefix,
            prefix + _LAST,
        )
        return [row["name"] for row in rows]

    async def routes_of(self, service: str) -> list[Stored]:
        """Return a service's routes."""
        await self.flush()
        rows = await self._connection.fetch(
            f"{OBJECTS} WHERE o.name >= $1 AND o.name < $2 ORDER BY o.name",
            f"{service}/routes/",
            f"{service}/routes/{_LAST}",
        )
        return [stored_of(row) for row in rows]

    async def described_since(self, revision: int) -> dict[str, str]:
        """
        Return the descriptors' hashes of the JSON APIs written behind *revision*, by service.

        As `committed` left them; empty where there is none any more.
        """
        rows = await self._connection.fetch(
            "SELECT object, CASE WHEN content->'json_prefixes' <> '[]'"
            " THEN content->>'descriptor_set' END AS hash"
            " FROM (SELECT DISTINCT ON (object) object, content FROM revisions"
            " WHERE revision > $1 AND revision <= $2 AND object >= 'services/'"
            " AND object < 'services0' AND object NOT LIKE '%/routes/%'"
            " ORDER BY object, revision DESC) r",
            revision,
            self.committed,
        )
        return {row["object"]: row["hash"] or "" for row in rows}

    async def descriptor_sets(self, hashes: Collection[str]) -> dict[str, bytes]:
        """Return descriptor sets by their hashes."""
        rows = await self._connection.fetch(
            "SELECT sha256, content FROM descriptor_sets WHERE sha256 = ANY($1)", list(hashes)
        )
        return {row["sha256"]: row["content"] for row in rows}

    async def put(self, before: Stored | None, value: Object) -> Stored:
        """Make the object be *value*: the next revision."""
        content = codec.encode(value)
        revision = self.revision + 1
        stored = Stored(
            value=value,
            etag=f"{revision:x}-{digest(content)[:8]}",
            revision=revision,
            create_time=before.create_time if before else self._now,
            update_time=self._now,
        )
        if isinstance(value, Service) and value.descriptor_set:
            old = before.value if before else None
            if not isinstance(old, Service) or old.descriptor_set != value.descriptor_set:
                self._sets[content["descriptor_set"]] = value.descriptor_set
        await self._append("update" if before else "create", before, stored, content)
        return stored

    async def delete(self, before: Stored) -> int:
        """Remove the object: the next revision, which is returned."""
        await self._append("delete", before, None, None)
        return self.revision

    async def flush(self) -> None:
        """Write what was put and deleted; it is seen by others when the transaction ends."""
        if not self._pending:
            return
        if self._tail is None:
            self._tail = await audit.tail(self._connection)
        self._tail = await pending.write(
            self._connection,
            list(self._pending.values()),
            self._sets,
            tail=self._tail,
            actor=self.actor,
            now=self._now,
            first=self.first,
            canary=self._told,
        )
        self._pending, self._sets = {}, {}

    async def _append(
        self,
        action: str,
        before: Stored | None,
        after: Stored | None,
        content: dict[str, Any] | None,
    ) -> None:
        """Take note of the next revision."""
        subject = after or before
        assert subject is not None, "a change has an object"
        name, kind = subject.value.name, BY_CLASS[type(subject.value)].key
        if name in self._pending:
            await self.flush()
        self.revision += 1
        self._pending[name] = Pending(
            revision=self.revision,
            name=name,
            action=action,
            before=codec.encode(before.value) if before else None,
            content=content,
            etag=after.etag if after else None,
            create_time=subject.create_time,
        )
        self._known[name] = after
        if kind == BY_CLASS[Service].key:
            self.described[name] = api_of(after)
        if kind in self._counts:
            self._counts[kind] += (after is not None) - (before is not None)
        self.made.append(
            Revision(
                revision=self.revision,
                object=name,
                action=action,
                stored=after,
                actor=self.actor,
                create_time=self._now,
                change_first=self.first,
                canary=self._told,
            )
        )
