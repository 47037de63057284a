"""What time does: retries become due, leases run out, old rows go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshkit.postgres import unavailable_on_lost_connection
from notifier import retry
from notifier.model import Category, Lane, Reason
from notifier.store.notifications import REQUEST_ID_LIFE
from notifier.store.steps import Change, write


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    import asyncpg

BATCH_MAX = 500
DEPTH_MAX = 2_000_000
"""Where counting stops."""


class UpkeepStore:
    """Keeps the tables. All methods raise `Unavailable` when the database is away."""

    def __init__(self, pool: asyncpg.Pool, *, attempts_max: int) -> None:
        self._pool = pool
        self._attempts_max = attempts_max

    async def release_due(self, now: datetime) -> set[tuple[str, Lane]]:
        """Make retries that are due pending; returns the channels and lanes concerned."""
        with unavailable_on_lost_connection():
            released = await self._pool.fetch(
                "UPDATE deliveries d SET state = 1, run_at = NULL FROM (SELECT tenant,"
                " notification, id FROM deliveries WHERE state = 2 AND run_at <= $1"
                " ORDER BY run_at LIMIT $2 FOR UPDATE SKIP LOCKED) g WHERE d.tenant = g.tenant"
                " AND d.notification = g.notification AND d.id = g.id RETURNING d.channel, d.lane",
                now,
                BATCH_MAX,
            )
        return {(row["channel"], Lane(row["lane"])) for row in released}

    async def expire_leases(
        self, *, repeatable: Callable[[str], bool], now: datetime
    ) -> list[retry.Step]:
        """
        Decide the deliveries whose process went down during an attempt; returns what followed.

        The lease runs by the database's clock, the same for all replicas.
        """
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                found = await connection.fetch(
                    "WITH lost AS MATERIALIZED (SELECT * FROM deliveries WHERE state = 3"
                    "  AND lease_until < clock_timestamp() ORDER BY lease_until LIMIT $1"
                    "  FOR UPDATE SKIP LOCKED)"
                    " SELECT d.*, n.category, n.useless_after FROM lost d JOIN notifications n"
                    " ON n.tenant = d.tenant AND n.id = d.notification",
                    BATCH_MAX,
                )
                changes = [
                    Change(
                        tenant=row["tenant"],
                        notification=str(row["notification"]),
                        delivery=str(row["id"]),
                        recipient=row["recipient"],
                        channel=row["channel"],
                        attempt=row["attempts"],
                        step=retry.after_uncertain(
                            retry.Situation(
                                lane=Lane(row["lane"]),
                                category=Category(row["category"]),
                                attempt=row["attempts"],
                                attempts_max=self._attempts_max,
                                useless_after=row["useless_after"],
                                repeatable=repeatable(row["channel"]),
                                resent=row["resent"],
                            ),
                            reason=Reason.CRASHED,
                            now=now,
                        ),
                        time=now,
                    )
                    for row in found
                ]
                await write(connection, changes)
        return [change.step for change in changes]

    async def depth(self) -> dict[tuple[str, Lane], int]:
        """Return how many deliveries wait, by channel and lane."""
        with unavailable_on_lost_connection():
            found = await self._pool.fetch(
                "SELECT channel, lane, count(*) AS number FROM (SELECT channel, lane FROM"
                " deliveries WHERE state = 1 LIMIT $1) w GROUP BY channel, lane",
                DEPTH_MAX,
            )
        return {(row["channel"], Lane(row["lane"])): row["number"] for row in found}

    async def remove_old(self, *, now: datetime, retention: timedelta) -> int:
        """
        Remove a batch of what is older than *retention* and finished; returns how many rows.

        Nothing goes that could still be delivered: `useless_after` itself must be that old.
        """
        before = now - retention
        with unavailable_on_lost_connection():
            async with self._pool.acquire() as connection, connection.transaction():
                gone = await connection.fetch(
                    "DELETE FROM notifications WHERE (tenant, id) IN (SELECT tenant, id"
                    " FROM notifications WHERE useless_after < $1 ORDER BY useless_after LIMIT $2"
                    " FOR UPDATE SKIP LOCKED) RETURNING tenant, id",
                    before,
                    BATCH_MAX,
                )
                keys = [row["tenant"] for row in gone], [row["id"] for row in gone]
                for table in ("deliveries", "attempts", "events"):
                    await connection.execute(
                        f"DELETE FROM {table} t USING unnest($1::text[], $2::uuid[])"  # noqa: S608 - a constant
                        " AS g (tenant, id) WHERE t.tenant = g.tenant AND t.notification = g.id",
                        *keys,
                    )
                messages = await connection.fetch(
                    "WITH gone AS (DELETE FROM inbox_messages m USING (SELECT tenant, recipient,"
                    "  seq FROM inbox_messages WHERE create_time < $1 ORDER BY create_time LIMIT $2"
                    "  FOR UPDATE SKIP LOCKED) o WHERE m.tenant = o.tenant"
                    "  AND m.recipient = o.recipient AND m.seq = o.seq"
                    "  RETURNING m.tenant, m.recipient, m.change_seq)"
                    " UPDATE inboxes i SET trimmed_seq = greatest(i.trimmed_seq, g.through)"
                    " FROM (SELECT tenant, recipient, max(change_seq) AS through FROM gone"
                    "  GROUP BY tenant, recipient) g"
                    " WHERE i.tenant = g.tenant AND i.recipient = g.recipient RETURNING 1",
                    before,
                    BATCH_MAX,
                )
                await connection.execute(
                    "DELETE FROM requests WHERE create_time < $1", now - REQUEST_ID_LIFE
                )
                await connection.execute("DELETE FROM subjects WHERE update_time < $1", before)
        return len(gone) + len(messages)
