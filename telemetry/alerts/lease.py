"""
Which of several replicas tells people of alerts: one, by a lease in the database.

All evaluate rules, each over what it holds; only the holder notifies, writes alerts down and takes
acknowledgements. While the database is away whoever held the lease goes on telling: people are
rather told twice than never.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import Unavailable


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.alerts.store.lease import LeaseStore

log = structlog.get_logger()

LENGTH = timedelta(seconds=10)
"""How long a replica that is gone keeps others from telling."""

RENEW_EVERY_S = 2.0


class Lease:
    """
    One replica's view of the lease. `run` until cancelled.

    Args:
        replica: Its name; a process that starts again by the same name goes on as it.

    """

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self.holder = ""
        """Who tells, as far as is known; empty: unknown."""

    @property
    def held(self) -> bool:
        """Whether it is this replica that tells."""
        return self.holder == self._replica

    def check(self) -> None:
        """
        Refuse what only the holder can do.

        Raises:
            Unavailable: ALERTS_STANDBY: another replica tells of alerts, or none does yet.

        """
        if not self.held:
            raise Unavailable(
                "ALERTS_STANDBY",
                "Another replica tells of alerts; ask that one.",
                retry_after=timedelta(seconds=1),
                holder=self.holder,
            )

    async def start(self, store: LeaseStore) -> None:
        """Take the lease if no other has it. Raises Unavailable."""
        self._know(await store.take(self._replica, LENGTH))

    async def run(self, store: LeaseStore, gained: Callable[[], Awaitable[None]]) -> None:
        """Keep the lease, or wait for it; *gained* is awaited before anything is told."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            with contextlib.suppress(Unavailable):
                holder = await store.take(self._replica, LENGTH)
                if holder == self._replica and not self.held:
                    await gained()
                self._know(holder)

    def _know(self, holder: str) -> None:
        if holder != self.holder:
            log.info("alerts_told_by", holder=holder, here=holder == self._replica)
        self.holder = holder
