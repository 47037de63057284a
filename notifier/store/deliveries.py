"""Deliveries under way: claim with a lease, record what came of it, resolve what is uncertain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshkit.errors import FailedPrecondition, NotFound
from meshkit.postgres import unavailable_on_lost_connection
from notifier import retry
from notifier.model import DeliveryState, Event, EventKind, Lane, Reason
from notifier.plan import still_wanted
from notifier.store import rows
from notifier.store.steps import Change, write


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime, timedelta

    import asyncpg

    from notifier.model import Delivery, Notification, Recipient
    from notifier.outcome import Outcome
    from notifier.store.rows import Connection

Key = tuple[str, str, str]
"""Tenant, notification and id of a delivery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery this process holds the lease of; its attempt is on record already."""

    notification: Notification
    recipient: Recipient
    id: str
    channel: str
    attempt: int
    fence: int
    resent: bool
    create_time: datetime
    address: str

    @property
    def key(self) -> Key:
        return (self.notification.tenant, self.notification.id, self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an attempt ended."""

    claimed: Claimed
    outcome: Outcome
    time: datetime


class DeliveryStore:
    """Moves deliveries along. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool, *, worker: str, attempts_max: int) -> None:
        self._pool = pool
        self._worker = worker
        self._attempts_max = attempts_max

    async def claim(
        self,
        channel: str,
        lane: Lane,
        *,
        limit: int,
        lease: timedelta,
        needs_address: bool,
        now: datetime,
    ) -> tuple[list[Claimed], int]:
        """
        Take up to *limit* pending deliveries, earliest deadline first, and start their attempts.

        Those that are no longer wanted are dropped, with their reason, and not returned.

        Returns:
            What was claimed, and how many were dropped.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                found = await connection.fetch(CLAIM, channel, int(lane), limit)
                claimed: list[Claimed] = []
                dropped: list[Change] = []
                for row in found:
                    reason = _wanted(row, channel, needs_address=needs_address, now=now)
                    if reason is Reason.NONE:
                        claimed.append(_claimed(row))
                    else:
                        dropped.append(_drop(row, reason, now))
                await write(connection, dropped)
                await self._start(connection, claimed, lease=lease, now=now)
        return claimed, len(dropped)

    async def give_back(
        self, channel: str, lane: Lane, *, under_way: Collection[str], now: datetime
    ) -> int:
        """
        Make pending again what this process holds the lease of without knowing it.

        A claim whose COMMIT got no answer may have been committed all the same. Nobody has
        begun those attempts: that is certain here, and only here.

        Args:
            under_way: Deliveries this process does work on.

        Returns:
            How many there were.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                found = await connection.fetch(
                    UNKNOWN_CLAIMS, channel, int(lane), self._worker, list(under_way)
                )
                step = retry.Step(
                    state=DeliveryState.PENDING,
                    event=EventKind.RETRY_SCHEDULED,
                    reason=Reason.PROVIDER_UNREACHABLE,
                    detail="not begun: the database was away",
                )
                await write(
                    connection,
                    [
                        Change(
                            tenant=row["tenant"],
                            notification=str(row["notification"]),
                            delivery=str(row["id"]),
                            recipient=row["recipient"],
                            channel=channel,
                            attempt=row["attempts"],
                            step=step,
                            time=now,
                        )
                        for row in found
                    ],
                )
        return len(found)

    async def record(
        self,
        results: Sequence[Result],
        *,
        repeatable: Callable[[str], bool],
        chance: Callable[[], float],
    ) -> list[retry.Step]:
        """
        Record how attempts ended, in one transaction; returns what follows, in their order.

        A result that comes after its lease ran out changes the delivery only if it settles
        one that stood uncertain.
        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                present = await _lock(connection, [r.claimed.key for r in results])
                changes, steps = [], []
                for result in results:
                    there = present.get(result.claimed.key)
                    step = self._step(result, repeatable, chance())
                    steps.append(step)
                    if there is not None and _may_settle(there, result, step):
                        changes.append(_change(result, step))
                await write(connection, changes)
        return steps

    async def resolve(
        self, key: Key, resolution: retry.Resolution, *, now: datetime
    ) -> tuple[Delivery, Lane]:
        """
        Decide an uncertain delivery.

        Raises:
            NotFound: DELIVERY_NOT_FOUND.
            FailedPrecondition: DELIVERY_NOT_UNCERTAIN.

        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                there = (await _lock(connection, [key])).get(key)
                if there is None:
                    raise NotFound(
                        "DELIVERY_NOT_FOUND", f"There is no delivery {key[2]!r}.", delivery=key[2]
                    )
                if there["state"] != DeliveryState.UNCERTAIN:
                    raise FailedPrecondition(
                        "DELIVERY_NOT_UNCERTAIN",
                        "Only a delivery in STATE_UNCERTAIN can be resolved.",
                        state=DeliveryState(there["state"]).name,
                    )
                step = retry.resolved(resolution)
                await write(
                    connection,
                    [
                        Change(
                            tenant=key[0],
                            notification=key[1],
                            delivery=key[2],
                            recipient=there["recipient"],
                            channel=there["channel"],
                            attempt=0,
                            step=step,
                            time=now,
                        )
                    ],
                )
                row = await connection.fetchrow(
                    "SELECT * FROM deliveries WHERE tenant = $1 AND notification = $2 AND id = $3",
                    *key,
                )
        assert row is not None, "locked above"
        return rows.delivery(row), Lane(row["lane"])

    def _step(self, result: Result, repeatable: Callable[[str], bool], chance: float) -> retry.Step:
        claimed = result.claimed
        situation = retry.Situation(
            lane=claimed.notification.lane,
            category=claimed.notification.category,
            attempt=claimed.attempt,
            attempts_max=self._attempts_max,
            useless_after=claimed.notification.useless_after,
            repeatable=repeatable(claimed.channel),
            resent=claimed.resent,
        )
        return retry.after(result.outcome, situation, now=result.time, chance=chance)

    async def _start(
        self,
        connection: Connection,
        claimed: Sequence[Claimed],
        *,
        lease: timedelta,
        now: datetime,
    ) -> None:
        """Put the attempts on record, before any provider is called."""
        if not claimed:
            return
        tenants = [c.notification.tenant for c in claimed]
        notifications = [c.notification.id for c in claimed]
        ids = [c.id for c in claimed]
        await connection.execute(
            "UPDATE deliveries d SET state = 3, fence = fence + 1, attempts = attempts + 1,"
            " reason = 0, lease_until = clock_timestamp() + $4::interval, update_time = $5"
            " FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS g (tenant, notification, id)"
            " WHERE d.tenant = g.tenant AND d.notification = g.notification AND d.id = g.id",
            tenants,
            notifications,
            ids,
            lease,
            now,
        )
        await connection.execute(
            "INSERT INTO attempts (tenant, notification, delivery, number, worker, start_time)"
            " SELECT g.*, $5, $6 FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::smallint[])"
            " AS g",
            tenants,
            notifications,
            ids,
            [c.attempt for c in claimed],
            self._worker,
            now,
        )
        await rows.insert_events(
            connection,
            [
                Event(
                    tenant=c.notification.tenant,
                    notification=c.notification.id,
                    kind=EventKind.ATTEMPT_STARTED,
                    delivery=c.id,
                    recipient=c.recipient.id,
                    channel=c.channel,
                    attempt=c.attempt,
                    time=now,
                )
                for c in claimed
            ],
        )


CLAIM = """
WITH picked AS MATERIALIZED (
    SELECT tenant, notification, id, recipient, channel, attempts, fence, resent, create_time,
           deliver_by
    FROM deliveries WHERE state = 1 AND channel = $1 AND lane = $2
    ORDER BY deliver_by LIMIT $3 FOR UPDATE SKIP LOCKED
)
SELECT p.id AS delivery, p.recipient AS member, p.channel, p.attempts, p.fence, p.resent,
       p.create_time AS planned_time, n.*,
       coalesce(s.version > n.subject_version, false) AS superseded,
       r.id IS NOT NULL AS exists, r.display_name, coalesce(r.addresses, '{}') AS addresses,
       coalesce(r.locale, '') AS locale, coalesce(r.time_zone, 'UTC') AS time_zone
FROM picked p
JOIN notifications n ON n.tenant = p.tenant AND n.id = p.notification
LEFT JOIN recipients r ON r.tenant = p.tenant AND r.id = p.recipient
LEFT JOIN subjects s ON n.subject_key <> '' AND s.tenant = n.tenant
                    AND s.subject_key = n.subject_key
ORDER BY p.deliver_by
"""


UNKNOWN_CLAIMS = """
SELECT d.tenant, d.notification, d.id, d.recipient, d.attempts
FROM deliveries d
JOIN attempts a ON a.tenant = d.tenant AND a.notification = d.notification
               AND a.delivery = d.id AND a.number = d.attempts
WHERE d.state = 3 AND d.channel = $1 AND d.lane = $2 AND a.worker = $3
  AND NOT d.id = ANY($4::uuid[])
ORDER BY d.id FOR UPDATE OF d
"""


def _wanted(row: rows.Row, channel: str, *, needs_address: bool, now: datetime) -> Reason:
    return still_wanted(
        useless_after=row["useless_after"],
        now=now,
        cancelled=row["state"] == 4,
        superseded=row["superseded"],
        recipient_exists=row["exists"],
        reachable=not needs_address or bool(row["addresses"].get(channel)),
    )


def _claimed(row: rows.Row) -> Claimed:
    return Claimed(
        notification=rows.notification(row),
        recipient=rows.addressee(row),
        id=str(row["delivery"]),
        channel=row["channel"],
        attempt=row["attempts"] + 1,
        fence=row["fence"] + 1,
        resent=row["resent"],
        create_time=row["planned_time"],
        address=row["addresses"].get(row["channel"], ""),
    )


def _drop(row: rows.Row, reason: Reason, now: datetime) -> Change:
    return Change(
        tenant=row["tenant"],
        notification=str(row["id"]),
        delivery=str(row["delivery"]),
        recipient=row["member"],
        channel=row["channel"],
        attempt=0,
        step=retry.Step(state=DeliveryState.DROPPED, event=EventKind.DROPPED, reason=reason),
        time=now,
    )


def _may_settle(there: rows.Row, result: Result, step: retry.Step) -> bool:
    if there["state"] == DeliveryState.IN_FLIGHT and there["fence"] == result.claimed.fence:
        return True
    late_proof = step.state is DeliveryState.DELIVERED
    return late_proof and there["state"] == DeliveryState.UNCERTAIN


def _change(result: Result, step: retry.Step) -> Change:
    claimed = result.claimed
    return Change(
        tenant=claimed.notification.tenant,
        notification=claimed.notification.id,
        delivery=claimed.id,
        recipient=claimed.recipient.id,
        channel=claimed.channel,
        attempt=claimed.attempt,
        step=step,
        time=result.time,
    )


async def _lock(connection: Connection, keys: Sequence[Key]) -> dict[Key, rows.Row]:
    found = await connection.fetch(
        "SELECT d.tenant, d.notification, d.id, d.recipient, d.channel, d.state, d.fence"
        " FROM deliveries d JOIN unnest($1::text[], $2::uuid[], $3::uuid[])"
        " AS g (tenant, notification, id)"
        " ON d.tenant = g.tenant AND d.notification = g.notification AND d.id = g.id"
        " ORDER BY d.id FOR UPDATE OF d",
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
    )
    return {(row["tenant"], str(row["notification"]), str(row["id"])): row for row in found}
