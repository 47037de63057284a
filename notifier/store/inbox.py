"""
Inboxes: messages in, changes out.

Each inbox counts its messages (`seq`) and its changes (`change_seq`) under its own row's lock,
so both are gap-free in the order of commits, and "what changed since my cursor"
is one range of an index: the cells as they are now, not a log of how they became so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.postgres import unavailable_on_lost_connection
from notifier.model import Category, Event, EventKind
from notifier.store import recipients, rows
from notifier.store.placing import place


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from notifier.model import Message
    from notifier.store.rows import Connection

Owner = tuple[str, str]
"""Tenant and recipient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxMessage:
    """A message as it stands in an inbox."""

    tenant: str
    recipient: str
    seq: int
    change_seq: int
    notification: str
    title: str
    text: str
    html: str
    action_url: str
    category: Category
    locale: str
    subject_key: str
    subject_version: int
    superseded: bool
    labels: Mapping[str, str]
    create_time: datetime
    read_time: datetime | None
    useless_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How far an inbox is."""

    epoch: str
    change_seq: int
    trimmed_seq: int


class InboxStore:
    """Reads and writes inboxes. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def append(self, messages: Sequence[Message], *, now: datetime) -> list[int | None]:
        """
        Put *messages* into their inboxes, in one transaction. A repeat changes nothing.

        Returns:
            The `seq` of each; None where a newer version of its subject, or nobody, is there.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                return await place(connection, messages, now)

    async def head(self, owner: Owner) -> Head:
        """Return how far an inbox is; raises `NotFound` RECIPIENT_NOT_FOUND."""
        with unavailable_on_lost_connection():
            row = await self._pool.fetchrow(
                "SELECT i.epoch, i.change_seq, i.trimmed_seq FROM recipients r LEFT JOIN inboxes i"
                " ON i.tenant = r.tenant AND i.recipient = r.id WHERE r.tenant = $1 AND r.id = $2",
                *owner,
            )
        if row is None:
            raise recipients.not_found(owner[1])
        if row["epoch"] is None:
            return Head(epoch="", change_seq=0, trimmed_seq=0)
        return _head(row)

    async def heads(self, owners: Iterable[Owner]) -> dict[Owner, Head]:
        """Return how far each of *owners*' inboxes is, as far as they have one."""
        wanted = list(owners)
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT i.* FROM inboxes i JOIN unnest($1::text[], $2::text[]) AS g (tenant, id)"
                " ON i.tenant = g.tenant AND i.recipient = g.id",
                [owner[0] for owner in wanted],
                [owner[1] for owner in wanted],
            )
        return {(row["tenant"], row["recipient"]): _head(row) for row in found}

    async def changes(self, owner: Owner, *, after: int, limit: int) -> list[InboxMessage]:
        """Return up to *limit* messages that changed behind *after*, in the order of change."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM inbox_messages WHERE tenant = $1 AND recipient = $2"
                " AND change_seq > $3 ORDER BY change_seq LIMIT $4",
                *owner,
                after,
                limit,
            )
        return [_message(row) for row in found]

    async def newest(self, owner: Owner, *, limit: int, through: int) -> list[InboxMessage]:
        """Return the newest *limit* messages as of the change *through*, oldest first."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM (SELECT * FROM inbox_messages WHERE tenant = $1 AND recipient = $2"
                " AND NOT superseded AND change_seq <= $4 ORDER BY seq DESC LIMIT $3) m"
                " ORDER BY seq",
                *owner,
                limit,
                through,
            )
        return [_message(row) for row in found]

    async def page(
        self, owner: Owner, *, before: int, unread_only: bool, limit: int
    ) -> tuple[list[InboxMessage], int, Head]:
        """
        Return up to *limit* messages with a `seq` below *before* (0 for all), newest first,
        the number of unread ones, and the head, all of one moment; raises `NotFound`.
        """
        head = await self.head(owner)
        with unavailable_on_lost_connection():
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                found = await connection.fetch(
                    "SELECT * FROM inbox_messages WHERE tenant = $1 AND recipient = $2"
                    " AND NOT superseded AND ($3 = 0 OR seq < $3)"
                    " AND (NOT $4 OR read_time IS NULL) ORDER BY seq DESC LIMIT $5",
                    *owner,
                    before,
                    unread_only,
                    limit,
                )
                unread = await _unread(connection, owner)
                row = await connection.fetchrow(
                    "SELECT * FROM inboxes WHERE tenant = $1 AND recipient = $2", *owner
                )
        return [_message(one) for one in found], unread, _head(row) if row else head

    async def mark_read(
        self, owner: Owner, seqs: Sequence[int], *, through: int, now: datetime
    ) -> tuple[int, bool]:
        """
        Mark messages as read: *seqs*, and all up to *through*. At most 1000 a transaction.

        Returns:
            How many are unread now, and whether anything changed.

        """
        await self.head(owner)
        changed = False
        while True:
            with unavailable_on_lost_connection():
                async with self._pool.acquire() as connection, connection.transaction():
                    marked = await _mark(connection, owner, seqs, through, now)
                    unread = await _unread(connection, owner)
            changed = changed or marked > 0
            if marked < MARKED_MAX:
                return unread, changed


MARKED_MAX = 1_000


async def _mark(
    connection: Connection, owner: Owner, seqs: Sequence[int], through: int, now: datetime
) -> int:
    head = await connection.fetchrow(
        "SELECT change_seq FROM inboxes WHERE tenant = $1 AND recipient = $2 FOR UPDATE", *owner
    )
    if head is None:
        return 0
    marked = await connection.fetch(
        "WITH due AS (SELECT seq, row_number() OVER (ORDER BY seq) AS place FROM inbox_messages"
        "  WHERE tenant = $1 AND recipient = $2 AND read_time IS NULL"
        "  AND (seq = ANY($3) OR seq <= $4) ORDER BY seq LIMIT $5)"
        " UPDATE inbox_messages m SET read_time = $6, change_seq = $7 + due.place FROM due"
        " WHERE m.tenant = $1 AND m.recipient = $2 AND m.seq = due.seq"
        " RETURNING m.notification, m.delivery",
        *owner,
        seqs,
        through,
        MARKED_MAX,
        now,
        head["change_seq"],
    )
    if marked:
        await connection.execute(
            "UPDATE inboxes SET change_seq = change_seq + $3 WHERE tenant = $1 AND recipient = $2",
            *owner,
            len(marked),
        )
        await rows.insert_events(
            connection,
            [
                Event(
                    tenant=owner[0],
                    notification=str(row["notification"]),
                    kind=EventKind.READ,
                    delivery=str(row["delivery"]),
                    recipient=owner[1],
                    channel="inapp",
                    time=now,
                )
                for row in marked
            ],
        )
    return len(marked)


async def _unread(connection: Connection, owner: Owner) -> int:
    number: int = await connection.fetchval(
        "SELECT count(*) FROM inbox_messages WHERE tenant = $1 AND recipient = $2"
        " AND read_time IS NULL AND NOT superseded",
        *owner,
    )
    return number


def _head(row: rows.Row) -> Head:
    return Head(
        epoch=str(row["epoch"]), change_seq=row["change_seq"], trimmed_seq=row["trimmed_seq"]
    )


def _message(row: rows.Row) -> InboxMessage:
    return InboxMessage(
        tenant=row["tenant"],
        recipient=row["recipient"],
        seq=row["seq"],
        change_seq=row["change_seq"],
        notification=str(row["notification"]),
        title=row["title"],
        text=row["body"],
        html=row["html"],
        action_url=row["action_url"],
        category=Category(row["category"]),
        locale=row["locale"],
        subject_key=row["subject_key"],
        subject_version=row["subject_version"],
        superseded=row["superseded"],
        labels=row["labels"],
        create_time=row["create_time"],
        read_time=row["read_time"],
        useless_after=row["useless_after"],
    )
