"""Writes what attempts, operators and the clock made of deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from notifier.model import Event
from notifier.store import rows


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from notifier.retry import Step
    from notifier.store.rows import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A step of one delivery."""

    tenant: str
    notification: str
    delivery: str
    recipient: str
    channel: str
    attempt: int
    """Number of the attempt that led to it; 0 if none did."""
    step: Step
    time: datetime


async def write(connection: Connection, changes: Sequence[Change]) -> None:
    """Apply *changes* to deliveries the caller's transaction has locked, and tell of them."""
    if not changes:
        return
    keys = (
        [c.tenant for c in changes],
        [c.notification for c in changes],
        [c.delivery for c in changes],
    )
    await connection.execute(
        "UPDATE deliveries d SET state = g.state, reason = g.reason, run_at = g.run_at,"
        " lease_until = NULL, resent = d.resent OR g.resent, update_time = g.time,"
        " receipt = CASE WHEN g.receipt = '' THEN d.receipt ELSE g.receipt END"
        " FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::smallint[], $5::smallint[],"
        " $6::timestamptz[], $7::boolean[], $8::text[], $9::timestamptz[])"
        " AS g (tenant, notification, id, state, reason, run_at, resent, receipt, time)"
        " WHERE d.tenant = g.tenant AND d.notification = g.notification AND d.id = g.id",
        *keys,
        [int(c.step.state) for c in changes],
        [int(c.step.reason) for c in changes],
        [c.step.run_at for c in changes],
        [c.step.resent for c in changes],
        [c.step.receipt for c in changes],
        [c.time for c in changes],
    )
    attempts = [c for c in changes if c.attempt]
    if attempts:
        await connection.execute(
            "UPDATE attempts a SET end_time = g.time, event = g.event, reason = g.reason"
            " FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::smallint[], $5::timestamptz[],"
            " $6::smallint[], $7::smallint[])"
            " AS g (tenant, notification, delivery, number, time, event, reason)"
            " WHERE a.tenant = g.tenant AND a.notification = g.notification"
            " AND a.delivery = g.delivery AND a.number = g.number",
            [c.tenant for c in attempts],
            [c.notification for c in attempts],
            [c.delivery for c in attempts],
            [c.attempt for c in attempts],
            [c.time for c in attempts],
            [int(c.step.event) for c in attempts],
            [int(c.step.reason) for c in attempts],
        )
    await rows.insert_events(
        connection,
        [
            Event(
                tenant=c.tenant,
                notification=c.notification,
                kind=c.step.event,
                reason=c.step.reason,
                delivery=c.delivery,
                recipient=c.recipient,
                channel=c.channel,
                attempt=c.attempt,
                detail=c.step.detail,
                time=c.time,
            )
            for c in changes
        ],
    )
