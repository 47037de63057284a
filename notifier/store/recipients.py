"""Recipients and their subscriptions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshkit.errors import AlreadyExists, Conflict, NotFound
from meshkit.ids import new_id
from meshkit.postgres import unavailable_on_lost_connection
from notifier.store import rows


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from notifier.model import Recipient
    from notifier.store.rows import Connection

READ = "SELECT * FROM recipients WHERE tenant = $1 AND id = ANY($2) ORDER BY id"
READ_AND_LOCK = READ + " FOR UPDATE"
INSERT = """
INSERT INTO recipients (tenant, id, display_name, addresses, channels, preferences, locale,
    time_zone, etag, create_time, update_time)
SELECT $1, g.id, g.display_name, g.addresses, g.channels, g.preferences, g.locale,
    g.time_zone, g.etag, $3, $3
FROM jsonb_to_recordset($2) AS g (id text, display_name text, addresses jsonb, channels text[],
    preferences jsonb, locale text, time_zone text, etag text)
ORDER BY g.id
ON CONFLICT (tenant, id)
"""
INSERT_NEW = INSERT + "DO NOTHING RETURNING *"
INSERT_OR_REPLACE = (
    INSERT + "DO UPDATE SET display_name = excluded.display_name, addresses = excluded.addresses,"
    " channels = excluded.channels, preferences = excluded.preferences,"
    " locale = excluded.locale, time_zone = excluded.time_zone, etag = excluded.etag,"
    " update_time = excluded.update_time RETURNING *"
)

CONTENT_FIELDS = ("display_name", "addresses", "channels", "preferences", "locale", "time_zone")


def not_found(recipient: str) -> NotFound:
    return NotFound(
        "RECIPIENT_NOT_FOUND", f"There is no recipient {recipient!r}.", recipient=recipient
    )


class RecipientStore:
    """
    Reads and writes recipients and subscriptions.

    All methods raise `Unavailable` when the database is away.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def create(
        self, tenant: str, recipient: Recipient, *, now: datetime, repeat: bool
    ) -> Recipient:
        """
        Create *recipient*.

        Args:
            repeat: Whether one with the same content may be there already.

        Raises:
            AlreadyExists: RECIPIENT_EXISTS.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                made = await _upsert(connection, tenant, [recipient], now=now, only_new=True)
                if made:
                    return made[0]
                there = await _read(connection, tenant, [recipient.id])
        if repeat and there and _same(there[recipient.id], recipient):
            return there[recipient.id]
        raise AlreadyExists(
            "RECIPIENT_EXISTS",
            f"There is a recipient {recipient.id!r} already.",
            recipient=recipient.id,
        )

    async def get(self, tenant: str, recipient: str) -> Recipient:
        """Return a recipient; raises `NotFound` RECIPIENT_NOT_FOUND."""
        with unavailable_on_lost_connection():
            found = await _read(self._pool, tenant, [recipient])
        if not found:
            raise not_found(recipient)
        return found[recipient]

    async def page(self, tenant: str, *, after: str, limit: int) -> list[Recipient]:
        """Return up to *limit* recipients with ids behind *after*, by id."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM recipients WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3",
                tenant,
                after,
                limit,
            )
        return [rows.recipient(row) for row in found]

    async def update(
        self,
        tenant: str,
        changes: Sequence[tuple[Recipient, frozenset[str] | None, bool]],
        *,
        now: datetime,
    ) -> list[Recipient]:
        """
        Replace recipients in one transaction; returns them in the order given.

        Args:
            changes: Each with the fields to replace (None for all), and whether it is
                created if missing. An etag that isn't empty must be the present one.

        Raises:
            NotFound: RECIPIENT_NOT_FOUND.
            Conflict: ETAG_MISMATCH.

        """
        ids = sorted({change[0].id for change in changes})
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await _read(connection, tenant, ids, lock=True)
                wanted = [
                    _changed(there.get(new.id), new, mask, missing_ok=missing_ok)
                    for new, mask, missing_ok in changes
                ]
                stored = await _upsert(connection, tenant, wanted, now=now, only_new=False)
        by_id = {one.id: one for one in stored}
        return [by_id[change[0].id] for change in changes]

    async def delete(self, tenant: str, recipient: str, *, etag: str) -> None:
        """Delete a recipient, its subscriptions and its inbox; raises as `update` does."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = await _read(connection, tenant, [recipient], lock=True)
                if recipient not in there:
                    raise not_found(recipient)
                _check_etag(there[recipient], etag)
                await connection.execute(
                    "DELETE FROM recipients WHERE tenant = $1 AND id = $2", tenant, recipient
                )

    async def subscribe(
        self, tenant: str, pairs: Sequence[tuple[str, str]], *, now: datetime
    ) -> int:
        """
        Subscribe recipients to topics, *pairs* of (topic, recipient); returns how many are new.

        Raises:
            NotFound: RECIPIENT_NOT_FOUND; none is subscribed then.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                ids = sorted({recipient for _, recipient in pairs})
                known = {
                    row["id"]
                    for row in await connection.fetch(
                        "SELECT id FROM recipients WHERE tenant = $1 AND id = ANY($2) FOR KEY SHARE",
                        tenant,
                        ids,
                    )
                }
                for one in ids:
                    if one not in known:
                        raise not_found(one)
                made = await connection.fetch(
                    "INSERT INTO subscriptions (tenant, topic, recipient, create_time)"
                    " SELECT $1, topic, recipient, $4 FROM unnest($2::text[], $3::text[])"
                    " AS given (topic, recipient) ORDER BY 2, 3 ON CONFLICT DO NOTHING RETURNING 1",
                    tenant,
                    [topic for topic, _ in pairs],
                    [recipient for _, recipient in pairs],
                    now,
                )
        return len(made)

    async def unsubscribe(self, tenant: str, pairs: Sequence[tuple[str, str]]) -> int:
        """End subscriptions, *pairs* of (topic, recipient or "" for all); returns how many."""
        with unavailable_on_lost_connection():
            gone = await self._pool.fetch(
                "DELETE FROM subscriptions s USING unnest($2::text[], $3::text[])"
                " AS given (topic, recipient) WHERE s.tenant = $1 AND s.topic = given.topic"
                " AND (given.recipient = '' OR s.recipient = given.recipient) RETURNING 1",
                tenant,
                [topic for topic, _ in pairs],
                [recipient for _, recipient in pairs],
            )
        return len(gone)

    async def subscribers(
        self, tenant: str, topic: str, *, after: str, limit: int
    ) -> list[tuple[str, datetime]]:
        """Return up to *limit* (recipient, create_time) behind *after*, by recipient."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT recipient, create_time FROM subscriptions WHERE tenant = $1 AND topic = $2"
                " AND recipient > $3 ORDER BY recipient LIMIT $4",
                tenant,
                topic,
                after,
                limit,
            )
        return [(row["recipient"], row["create_time"]) for row in found]


def _changed(
    there: Recipient | None, new: Recipient, mask: frozenset[str] | None, *, missing_ok: bool
) -> Recipient:
    if there is None:
        if not missing_ok:
            raise not_found(new.id)
        return new
    _check_etag(there, new.etag)
    if mask is None:
        return new
    fields: dict[str, Any] = {name: getattr(new, name) for name in mask}
    return replace(there, **fields)


def _check_etag(there: Recipient, etag: str) -> None:
    if etag and etag != there.etag:
        raise Conflict(
            "ETAG_MISMATCH",
            f"Recipient {there.id!r} was changed since; read it again.",
            recipient=there.id,
        )


def _same(one: Recipient, other: Recipient) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in CONTENT_FIELDS)


async def _read(
    connection: Connection | asyncpg.Pool, tenant: str, ids: Sequence[str], *, lock: bool = False
) -> dict[str, Recipient]:
    found = await connection.fetch(
        READ_AND_LOCK if lock else READ,
        tenant,
        ids,
    )
    return {row["id"]: rows.recipient(row) for row in found}


async def _upsert(
    connection: Connection,
    tenant: str,
    recipients: Sequence[Recipient],
    *,
    now: datetime,
    only_new: bool,
) -> list[Recipient]:
    stored = await connection.fetch(
        INSERT_NEW if only_new else INSERT_OR_REPLACE,
        tenant,
        [
            {
                "id": one.id,
                "display_name": one.display_name,
                "addresses": dict(one.addresses),
                "channels": one.channels,
                "preferences": {int(k): v for k, v in one.preferences.items()},
                "locale": one.locale,
                "time_zone": one.time_zone,
                "etag": new_id(),
            }
            for one in recipients
        ],
        now,
    )
    return [rows.recipient(row) for row in stored]
