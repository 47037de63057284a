"""What happens by the clock: retries that are due, leases that ran out, depth, old rows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import Unavailable
from notifier.model import DeliveryState, Lane


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from notifier.channels.seam import Channel
    from notifier.instruments import Instruments
    from notifier.intake import Intake
    from notifier.store.upkeep import UpkeepStore
    from notifier.wakes import Wakes

log = structlog.get_logger()

DEPTH_EVERY = 5
"""Rounds between counts of what waits."""
REMOVAL_EVERY = 60
"""Rounds between removals of old rows."""


class Housekeeper:
    """One round each *interval*; several replicas may keep house at once."""

    def __init__(
        self,
        store: UpkeepStore,
        wakes: Wakes,
        intake: Intake,
        instruments: Instruments,
        channels: Mapping[str, Channel],
        *,
        interval: timedelta,
        retention: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._wakes = wakes
        self._intake = intake
        self._instruments = instruments
        self._channels = channels
        self._interval_s = interval.total_seconds()
        self._retention = retention
        self._clock = clock

    async def run(self) -> None:
        """Keep house until cancelled."""
        number = 0
        while True:
            try:
                await self.round(number)
            except Unavailable as error:
                log.warning("upkeep_interrupted", reason=error.reason)
            number += 1
            await asyncio.sleep(self._interval_s)

    async def round(self, number: int) -> None:
        """Do what is due in round *number*."""
        now = self._clock()
        for channel, lane in await self._store.release_due(now):
            self._wakes.work(channel, lane)
        steps = await self._store.expire_leases(repeatable=self._repeatable, now=now)
        if steps:
            log.warning("attempts_crashed", attempts=len(steps))
        if any(step.state is DeliveryState.PENDING for step in steps):
            for channel in self._channels:
                for lane in Lane:
                    self._wakes.work(channel, lane)
        if number % DEPTH_EVERY == 0:
            depth = await self._store.depth()
            self._instruments.depth(depth)
            self._intake.backlog = sum(depth.values())
        if number % REMOVAL_EVERY == 0:
            await self._store.remove_old(now=now, retention=self._retention)

    def _repeatable(self, channel: str) -> bool:
        found = self._channels.get(channel)
        return found is not None and found.repeatable
