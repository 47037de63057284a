"""Audiences in, deliveries out: one chunk of work, locked, decided and written as one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshkit.postgres import unavailable_on_lost_connection
from notifier.model import NotificationState
from notifier.store import rows


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    import asyncpg

    from notifier.model import Event, Lane, Notification, Recipient
    from notifier.store.rows import Connection

NOTIFICATIONS_MAX = 100
AUDIENCE_MAX = 200
"""Recipients of one notification in one chunk; an audience larger than that takes several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A notification whose audience, or a chunk of it, is to be planned."""

    notification: Notification
    superseded: bool
    content: frozenset[str]
    """Channels its template version has content for."""
    audience: tuple[Recipient, ...]
    gone: tuple[str, ...]
    """Recipients named that exist no more."""
    last: bool
    """Whether nobody is left after this chunk."""
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery to be inserted as pending."""

    id: str
    notification: Notification
    recipient: str
    channel: str


@dataclass(slots=True)
class Chunk:
    """Tasks locked by this transaction, and what was decided about them."""

    tasks: Sequence[Task]
    deliveries: list[NewDelivery] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class PlanningStore:
    """Hands out chunks of planning. Raises `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @contextlib.asynccontextmanager
    async def chunk(self, lane: Lane, *, now: datetime) -> AsyncIterator[Chunk]:
        """
        Yield the most urgent chunk of *lane*; what was put into it is written on leaving.

        Everything happens in one transaction: after a crash the work is there again.
        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                chunk = Chunk(await _lock(connection, lane))
                yield chunk
                await _write(connection, chunk, now)


async def _lock(connection: Connection, lane: Lane) -> list[Task]:
    found = await connection.fetch(
        "WITH picked AS MATERIALIZED (SELECT * FROM notifications WHERE state = 1 AND lane = $1"
        "  ORDER BY deliver_by LIMIT $2 FOR UPDATE SKIP LOCKED)"
        " SELECT p.*, s.version > p.subject_version AS superseded, ARRAY(SELECT DISTINCT"
        "  c->>'channel' FROM template_versions v, jsonb_array_elements(v.contents) c"
        "  WHERE v.tenant = p.tenant AND v.id = p.template AND v.version = p.template_version)"
        "  AS content"
        " FROM picked p LEFT JOIN subjects s"
        " ON s.tenant = p.tenant AND s.subject_key = p.subject_key AND p.subject_key <> ''"
        " ORDER BY p.deliver_by",
        int(lane),
        NOTIFICATIONS_MAX,
    )
    if not found:
        return []
    # Named recipients and the topics' subscribers, each once, in the order of their ids.
    audience = await connection.fetch(
        "SELECT n.id AS notification, a.id AS member, r.* FROM notifications n"
        ' CROSS JOIN LATERAL (SELECT u.id FROM (SELECT unnest(n.recipients) COLLATE "C" AS id UNION'
        "  SELECT s.recipient FROM subscriptions s WHERE s.tenant = n.tenant"
        "  AND s.topic = ANY(n.topics) AND s.recipient > n.planned_through) u"
        "  WHERE u.id > n.planned_through ORDER BY u.id LIMIT $2) a"
        " LEFT JOIN recipients r ON r.tenant = n.tenant AND r.id = a.id"
        " JOIN unnest($1::text[], $3::uuid[]) AS g (tenant, id)"
        "  ON n.tenant = g.tenant AND n.id = g.id",
        [row["tenant"] for row in found],
        AUDIENCE_MAX,
        [row["id"] for row in found],
    )
    members: dict[object, list[rows.Row]] = {}
    for row in audience:
        members.setdefault(row["notification"], []).append(row)
    return [_task(row, members.get(row["id"], [])) for row in found]


def _task(row: rows.Row, members: list[rows.Row]) -> Task:
    return Task(
        notification=rows.notification(row),
        superseded=bool(row["superseded"]),
        content=frozenset(row["content"]),
        audience=tuple(rows.recipient(m, id_column="member") for m in members if m["etag"]),
        gone=tuple(m["member"] for m in members if not m["etag"]),
        last=len(members) < AUDIENCE_MAX,
        first=row["planned_through"] == "",
    )


async def _write(connection: Connection, chunk: Chunk, now: datetime) -> None:
    if not chunk.tasks:
        return
    new = chunk.deliveries
    if new:
        await connection.execute(
            "INSERT INTO deliveries (tenant, notification, id, recipient, channel, lane, state,"
            " deliver_by, create_time, update_time) SELECT g.tenant, g.notification, g.id,"
            " g.recipient, g.channel, g.lane, 1, g.deliver_by, $8, $8 FROM unnest($1::text[],"
            " $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::smallint[], $7::timestamptz[])"
            " AS g (tenant, notification, id, recipient, channel, lane, deliver_by)",
            [d.notification.tenant for d in new],
            [d.notification.id for d in new],
            [d.id for d in new],
            [d.recipient for d in new],
            [d.channel for d in new],
            [int(d.notification.lane) for d in new],
            [d.notification.deliver_by for d in new],
            now,
        )
    await rows.insert_events(connection, chunk.events)
    await connection.execute(
        "UPDATE notifications n SET planned_through = g.through, state = g.state"
        " FROM unnest($1::text[], $2::uuid[], $3::text[], $4::smallint[])"
        " AS g (tenant, id, through, state) WHERE n.tenant = g.tenant AND n.id = g.id",
        [t.notification.tenant for t in chunk.tasks],
        [t.notification.id for t in chunk.tasks],
        [_through(t) for t in chunk.tasks],
        [int(NotificationState.PLANNED if t.last else t.notification.state) for t in chunk.tasks],
    )


def _through(task: Task) -> str:
    return max([*(one.id for one in task.audience), *task.gone], default="")
