"""Accepting, reading and cancelling notifications."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from meshkit.errors import InvalidInput, NotFound
from meshkit.postgres import unavailable_on_lost_connection
from notifier.model import DeliveryState, Event, EventKind, Reason
from notifier.store import recipients, rows, templates


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from notifier.model import Delivery, Notification
    from notifier.store.rows import Connection

REQUEST_ID_LIFE = timedelta(hours=24)
"""How long a request id is recognised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A notification that has been checked as far as that goes without the database."""

    notification: Notification
    request_id: str
    fingerprint: bytes
    """Hash of what the caller sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a draft became."""

    id: str
    create_time: datetime
    template_version: int
    repeat: bool
    """Whether an earlier call with the same request id made it."""


def not_found(notification: str) -> NotFound:
    return NotFound(
        "NOTIFICATION_NOT_FOUND",
        f"There is no notification {notification!r}.",
        notification=notification,
    )


class NotificationStore:
    """Accepts and reads notifications. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def accept(self, tenant: str, drafts: Sequence[Draft]) -> list[Accepted]:
        """
        Make all of *drafts* durable in one transaction, or none; returned in their order.

        Raises:
            InvalidInput: REQUEST_ID_REUSED.
            NotFound: TEMPLATE_NOT_FOUND or RECIPIENT_NOT_FOUND.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                repeats = await _known_requests(connection, tenant, drafts)
                fresh = [d for d in drafts if d.notification.id not in repeats]
                versions = await _template_versions(connection, tenant, fresh)
                await _check_recipients(connection, tenant, fresh)
                await _advance_subjects(connection, tenant, fresh)
                await _insert(connection, fresh, versions)
                await rows.insert_events(
                    connection,
                    [
                        Event(
                            tenant=tenant,
                            notification=d.notification.id,
                            kind=EventKind.ACCEPTED,
                            time=d.notification.create_time,
                        )
                        for d in fresh
                    ],
                )
        return [
            repeats.get(d.notification.id)
            or Accepted(
                id=d.notification.id,
                create_time=d.notification.create_time,
                template_version=versions[d.notification.template],
                repeat=False,
            )
            for d in drafts
        ]

    async def get(self, tenant: str, notification: str) -> tuple[Notification, dict[int, int]]:
        """Return a notification and its deliveries' count by state; raises `NotFound`."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection:
                row = await connection.fetchrow(
                    "SELECT * FROM notifications WHERE tenant = $1 AND id = $2",
                    tenant,
                    notification,
                )
                if row is None:
                    raise not_found(notification)
                counts = await connection.fetch(
                    "SELECT state, count(*) AS number FROM deliveries"
                    " WHERE tenant = $1 AND notification = $2 GROUP BY state",
                    tenant,
                    notification,
                )
        return rows.notification(row), {one["state"]: one["number"] for one in counts}

    async def page(
        self, tenant: str, *, subject_key: str, before: str, limit: int
    ) -> list[Notification]:
        """Return up to *limit* notifications, newest first, older than *before* ("" for all)."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM notifications WHERE tenant = $1 AND ($2 = '' OR subject_key = $2)"
                " AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
                tenant,
                subject_key,
                before or None,
                limit,
            )
        return [rows.notification(row) for row in found]

    async def events(
        self, tenant: str, notification: str, *, after: int, limit: int
    ) -> list[Event]:
        """Return up to *limit* events behind the id *after*, oldest first."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM events WHERE tenant = $1 AND notification = $2 AND id > $3"
                " ORDER BY id LIMIT $4",
                tenant,
                notification,
                after,
                limit,
            )
        return [rows.event(row) for row in found]

    async def deliveries(
        self, tenant: str, notification: str, *, after: str, limit: int
    ) -> list[Delivery]:
        """Return up to *limit* deliveries behind the id *after* ("" for the first), by id."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT * FROM deliveries WHERE tenant = $1 AND notification = $2"
                " AND ($3::uuid IS NULL OR id > $3) ORDER BY id LIMIT $4",
                tenant,
                notification,
                after or None,
                limit,
            )
        return [rows.delivery(row) for row in found]

    async def cancel(self, tenant: str, notification: str, *, now: datetime) -> None:
        """Stop what waits; a repeat changes nothing. Raises `NotFound`."""
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                state = await connection.fetchval(
                    "SELECT state FROM notifications WHERE tenant = $1 AND id = $2 FOR UPDATE",
                    tenant,
                    notification,
                )
                if state is None:
                    raise not_found(notification)
                changed = await connection.fetchval(
                    "UPDATE notifications SET state = 4 WHERE tenant = $1 AND id = $2"
                    " AND state <> 4 RETURNING 1",
                    tenant,
                    notification,
                )
                if not changed:
                    return
                stopped = await connection.fetch(
                    "UPDATE deliveries SET state = $3, reason = $4, update_time = $5, run_at = NULL"
                    " WHERE (tenant, notification, id) IN (SELECT tenant, notification, id"
                    "  FROM deliveries WHERE tenant = $1 AND notification = $2 AND state IN (1, 2)"
                    "  ORDER BY id FOR UPDATE) RETURNING id, recipient, channel",
                    tenant,
                    notification,
                    DeliveryState.DROPPED,
                    Reason.CANCELLED,
                    now,
                )
                happened = [
                    Event(
                        tenant=tenant,
                        notification=notification,
                        kind=EventKind.DROPPED,
                        reason=Reason.CANCELLED,
                        delivery=str(row["id"]),
                        recipient=row["recipient"],
                        channel=row["channel"],
                        time=now,
                    )
                    for row in stopped
                ]
                whole = Event(
                    tenant=tenant, notification=notification, kind=EventKind.CANCELLED, time=now
                )
                await rows.insert_events(connection, [whole, *happened])


async def _known_requests(
    connection: Connection, tenant: str, drafts: Sequence[Draft]
) -> dict[str, Accepted]:
    """Claim the request ids; return what repeats became earlier, by the draft's own id."""
    named = sorted((d for d in drafts if d.request_id), key=lambda d: d.request_id)
    if not named:
        return {}
    claimed = await connection.fetch(
        "INSERT INTO requests AS r (tenant, request_id, fingerprint, notification, create_time)"
        " SELECT $1, g.* FROM unnest($2::text[], $3::bytea[], $4::uuid[], $5::timestamptz[]) AS g"
        " ON CONFLICT (tenant, request_id) DO UPDATE SET fingerprint = excluded.fingerprint,"
        "  notification = excluded.notification, create_time = excluded.create_time"
        "  WHERE r.create_time < excluded.create_time - $6::interval RETURNING request_id",
        tenant,
        [d.request_id for d in named],
        [d.fingerprint for d in named],
        [d.notification.id for d in named],
        [d.notification.create_time for d in named],
        REQUEST_ID_LIFE,
    )
    ours = {row["request_id"] for row in claimed}
    repeated = [d for d in named if d.request_id not in ours]
    if not repeated:
        return {}
    earlier = {
        row["request_id"]: row
        for row in await connection.fetch(
            "SELECT r.request_id, r.fingerprint, n.id, n.create_time, n.template_version"
            " FROM requests r JOIN notifications n ON n.tenant = r.tenant AND n.id = r.notification"
            " WHERE r.tenant = $1 AND r.request_id = ANY($2)",
            tenant,
            [d.request_id for d in repeated],
        )
    }
    found = {}
    for draft in repeated:
        row = earlier.get(draft.request_id)
        if row is None or row["fingerprint"] != draft.fingerprint:
            raise InvalidInput(
                "REQUEST_ID_REUSED",
                f"The request_id {draft.request_id!r} was used for another notification.",
                field_violations={"request_id": "was used for another notification"},
                request_id=draft.request_id,
            )
        found[draft.notification.id] = Accepted(
            id=str(row["id"]),
            create_time=row["create_time"],
            template_version=row["template_version"],
            repeat=True,
        )
    return found


async def _template_versions(
    connection: Connection, tenant: str, drafts: Sequence[Draft]
) -> dict[str, int]:
    wanted = sorted({d.notification.template for d in drafts})
    versions = {
        row["id"]: row["version"]
        for row in await connection.fetch(
            "SELECT id, version FROM templates WHERE tenant = $1 AND id = ANY($2)", tenant, wanted
        )
    }
    for template in wanted:
        if template not in versions:
            raise templates.not_found(template)
    return versions


async def _check_recipients(connection: Connection, tenant: str, drafts: Sequence[Draft]) -> None:
    wanted = sorted({one for d in drafts for one in d.notification.recipients})
    if not wanted:
        return
    missing = await connection.fetchval(
        "SELECT min(g.id) FROM unnest($2::text[]) AS g (id) WHERE NOT EXISTS"
        " (SELECT 1 FROM recipients r WHERE r.tenant = $1 AND r.id = g.id)",
        tenant,
        wanted,
    )
    if missing is not None:
        raise recipients.not_found(missing)


async def _advance_subjects(connection: Connection, tenant: str, drafts: Sequence[Draft]) -> None:
    newest: dict[str, int] = {}
    for draft in drafts:
        key, version = draft.notification.subject_key, draft.notification.subject_version
        if key:
            newest[key] = max(version, newest.get(key, 0))
    if not newest:
        return
    keys = sorted(newest)
    await connection.execute(
        "INSERT INTO subjects AS s (tenant, subject_key, version, update_time)"
        " SELECT $1, g.*, $4 FROM unnest($2::text[], $3::bigint[]) AS g"
        " ON CONFLICT (tenant, subject_key) DO UPDATE SET update_time = excluded.update_time,"
        "  version = greatest(s.version, excluded.version)",
        tenant,
        keys,
        [newest[key] for key in keys],
        drafts[0].notification.create_time,
    )


async def _insert(
    connection: Connection, drafts: Sequence[Draft], versions: dict[str, int]
) -> None:
    if not drafts:
        return
    await connection.execute(
        "INSERT INTO notifications (tenant, id, state, lane, category, recipients, topics,"
        " template, template_version, variables, channels, deliver_by, useless_after, subject_key,"
        " subject_version, labels, traceparent, create_time)"
        " SELECT tenant, id, 1, lane, category, recipients, topics, template, template_version,"
        " variables, channels, deliver_by, useless_after, subject_key, subject_version, labels,"
        " traceparent, create_time FROM jsonb_to_recordset($1) AS g (tenant text, id uuid,"
        " lane smallint, category smallint, recipients text[], topics text[], template text,"
        " template_version bigint, variables jsonb, channels text[], deliver_by timestamptz,"
        " useless_after timestamptz, subject_key text, subject_version bigint, labels jsonb,"
        " traceparent text, create_time timestamptz)",
        [_as_json(d.notification, versions[d.notification.template]) for d in drafts],
    )


def _as_json(n: Notification, template_version: int) -> dict[str, object]:
    return {
        "tenant": n.tenant,
        "id": n.id,
        "lane": int(n.lane),
        "category": int(n.category),
        "recipients": n.recipients,
        "topics": n.topics,
        "template": n.template,
        "template_version": template_version,
        "variables": n.variables,
        "channels": n.channels,
        "deliver_by": n.deliver_by.isoformat(),
        "useless_after": n.useless_after.isoformat(),
        "subject_key": n.subject_key,
        "subject_version": n.subject_version,
        "labels": dict(n.labels),
        "traceparent": n.traceparent,
        "create_time": n.create_time.isoformat(),
    }
