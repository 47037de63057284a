"""Revisions of a change that are yet to be written: any number of them in one statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.kinds import kind_of
from gateway.store import audit
from gateway.store.rows import digest


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]

_WRITE: Final = """
WITH given AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::jsonb[],
                         $6::text[], $7::timestamptz[])
        AS given (revision, name, kind, action, content, etag, create_time)
), sets AS (
    INSERT INTO descriptor_sets (sha256, content)
    SELECT * FROM unnest($8::text[], $9::bytea[]) ON CONFLICT DO NOTHING
), gone AS (
    DELETE FROM objects WHERE name IN (SELECT name FROM given WHERE action = 'delete')
), kept AS (
    INSERT INTO objects (name, kind, content, etag, revision, create_time, update_time)
    SELECT name, kind, content, etag, revision, create_time, $10 FROM given
        WHERE action <> 'delete'
    ON CONFLICT (name) DO UPDATE SET content = excluded.content, etag = excluded.etag,
        revision = excluded.revision, update_time = excluded.update_time
), state AS (
    UPDATE catalog_state SET revision = $11
), revised AS (
    INSERT INTO revisions (revision, object, action, content, etag, actor,
                           object_create_time, create_time, change_first, canary)
    SELECT revision, name, action, content, etag, $12, create_time, $10, $13, $20 FROM given
)
INSERT INTO audit_log (seq, create_time, actor, action, resource, detail, previous_hash, hash)
SELECT seq, $10, $12, action, resource, detail, previous_hash, hash
FROM unnest($14::bigint[], $15::text[], $16::text[], $17::jsonb[], $18::bytea[], $19::bytea[])
    AS records (seq, action, resource, detail, previous_hash, hash)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One revision."""

    revision: int
    name: str
    action: str
    """`create`, `update` or `delete`."""

    before: Mapping[str, Any] | None
    """The object's content; None: it wasn't there."""

    content: Mapping[str, Any] | None
    """What it is now; None: deleted."""

    etag: str | None
    create_time: datetime
    """The object's."""

    @property
    def record(self) -> dict[str, object]:
        """What the audit log says of it."""
        return {
            "revision": self.revision,
            "before": digest(self.before) if self.before is not None else None,
            "after": digest(self.content) if self.content is not None else None,
        }


async def write(
    connection: Connection,
    pending: Sequence[Pending],
    sets: Mapping[str, bytes],
    *,
    tail: audit.Tail,
    actor: str,
    now: datetime,
    first: int,
    canary: Mapping[str, Any] | None = None,
) -> audit.Tail:
    """
    Write revisions with their audit records; no object is among them twice.

    Args:
        sets: Descriptor sets by their hash.
        first: The first revision of the change.
        canary: Which edges have it first.

    """
    records = []
    for one in pending:
        made = tail.next(
            now,
            actor=actor,
            action=f"catalog.{one.action}",
            resource=one.name,
            detail=one.record,
        )
        tail = audit.Tail(made.seq, made.hash)
        records.append(made)
    await connection.execute(
        _WRITE,
        [one.revision for one in pending],
        [one.name for one in pending],
        [kind_of(one.name).key for one in pending],
        [one.action for one in pending],
        [one.content for one in pending],
        [one.etag for one in pending],
        [one.create_time for one in pending],
        list(sets),
        list(sets.values()),
        now,
        pending[-1].revision,
        actor,
        first,
        [one.seq for one in records],
        [one.action for one in records],
        [one.resource for one in records],
        [one.detail for one in records],
        [one.previous_hash for one in records],
        [one.hash for one in records],
        canary,
    )
    return tail
