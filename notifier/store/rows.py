"""Rows to the model and back, and errors of the database that callers must see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from notifier.model import (
    Category,
    Content,
    Delivery,
    DeliveryState,
    Event,
    EventKind,
    Lane,
    Notification,
    NotificationState,
    Reason,
    Recipient,
    Template,
)


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    Connection = asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]
    Row = Mapping[str, Any] | asyncpg.Record


def recipient(row: Row, *, id_column: str = "id") -> Recipient:
    return Recipient(
        id=row[id_column],
        display_name=row["display_name"],
        addresses=row["addresses"],
        channels=tuple(row["channels"]),
        preferences={Category(int(k)): tuple(v) for k, v in row["preferences"].items()},
        locale=row["locale"],
        time_zone=row["time_zone"],
        etag=row["etag"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def addressee(row: Row) -> Recipient:
    """Return the recipient of a claimed delivery, as far as rendering needs it."""
    return Recipient(
        id=row["member"],
        display_name=row["display_name"] or "",
        addresses=row["addresses"],
        locale=row["locale"],
        time_zone=row["time_zone"],
    )


def template(row: Row) -> Template:
    return Template(
        id=row["id"],
        default_locale=row["default_locale"],
        contents=tuple(Content(**content) for content in row["contents"]),
        display_name=row["display_name"],
        version=row["version"],
        etag=row["etag"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def notification(row: Row) -> Notification:
    return Notification(
        tenant=row["tenant"],
        id=str(row["id"]),
        recipients=tuple(row["recipients"]),
        topics=tuple(row["topics"]),
        template=row["template"],
        template_version=row["template_version"],
        variables=row["variables"],
        category=Category(row["category"]),
        lane=Lane(row["lane"]),
        channels=tuple(row["channels"]),
        deliver_by=row["deliver_by"],
        useless_after=row["useless_after"],
        subject_key=row["subject_key"],
        subject_version=row["subject_version"],
        labels=row["labels"],
        create_time=row["create_time"],
        traceparent=row["traceparent"],
        state=NotificationState(row["state"]),
    )


def delivery(row: Row) -> Delivery:
    return Delivery(
        tenant=row["tenant"],
        notification=str(row["notification"]),
        id=str(row["id"]),
        recipient=row["recipient"],
        channel=row["channel"],
        state=DeliveryState(row["state"]),
        reason=Reason(row["reason"]),
        attempts=row["attempts"],
        receipt=row["receipt"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        run_at=row["run_at"],
    )


def event(row: Row) -> Event:
    return Event(
        id=row["id"],
        tenant=row["tenant"],
        notification=str(row["notification"]),
        kind=EventKind(row["kind"]),
        reason=Reason(row["reason"]),
        delivery=str(row["delivery"]) if row["delivery"] else None,
        recipient=row["recipient"],
        channel=row["channel"],
        attempt=row["attempt"],
        detail=row["detail"],
        time=row["time"],
    )


async def insert_events(connection: Connection, events: Sequence[Event]) -> None:
    """Append *events*, in order, within the caller's transaction."""
    if not events:
        return
    await connection.execute(
        "INSERT INTO events (tenant, notification, kind, reason, delivery, recipient, channel,"
        " attempt, detail, time) SELECT * FROM unnest($1::text[], $2::uuid[], $3::smallint[],"
        " $4::smallint[], $5::uuid[], $6::text[], $7::text[], $8::smallint[], $9::text[],"
        " $10::timestamptz[])",
        [e.tenant for e in events],
        [e.notification for e in events],
        [int(e.kind) for e in events],
        [int(e.reason) for e in events],
        [e.delivery for e in events],
        [e.recipient for e in events],
        [e.channel for e in events],
        [e.attempt for e in events],
        [e.detail[:500] for e in events],
        [e.time for e in events],
    )
