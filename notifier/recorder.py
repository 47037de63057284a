"""Writes results of attempts: those that come in while one commit runs share the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from meshkit.errors import Unavailable
from notifier.model import DeliveryState


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from notifier.channels.seam import Channel
    from notifier.instruments import Instruments
    from notifier.store.deliveries import DeliveryStore, Result

RESULTS_MAX = 500
"""Results written in one transaction."""
RETRY_S = 0.5

log = structlog.get_logger()


class Recorder:
    """
    Takes results from all lanes.

    A result waits until it is written, however long the database is away: it is the only
    knowledge of what a provider said. Its bound is the number of attempts under way.
    """

    def __init__(
        self,
        store: DeliveryStore,
        channels: Mapping[str, Channel],
        instruments: Instruments,
        *,
        chance: Callable[[], float],
    ) -> None:
        self._store = store
        self._channels = channels
        self._instruments = instruments
        self._chance = chance
        self._waiting: list[tuple[Result, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()

    async def record(self, results: Sequence[Result]) -> None:
        """Return once *results* are durable."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in results]
        self._waiting += zip(results, futures, strict=True)
        self._arrived.set()
        await asyncio.gather(*futures)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:RESULTS_MAX], self._waiting[RESULTS_MAX:]
            if not self._waiting:
                self._arrived.clear()
            await self._write([result for result, _ in batch])
            for _, future in batch:
                if not future.done():
                    future.set_result(None)

    async def _write(self, results: Sequence[Result]) -> None:
        while True:
            try:
                steps = await self._store.record(
                    results,
                    repeatable=lambda channel: self._channels[channel].repeatable,
                    chance=self._chance,
                )
            except Unavailable as error:
                log.warning("results_wait", results=len(results), reason=error.reason)
                await asyncio.sleep(RETRY_S)
            else:
                break
        for result, step in zip(results, steps, strict=True):
            claimed = result.claimed
            self._instruments.followed(claimed.channel, step)
            if step.state is DeliveryState.DELIVERED:
                taken = result.time - claimed.notification.create_time
                self._instruments.delivered(
                    claimed.channel,
                    claimed.notification.lane,
                    latency_s=taken.total_seconds(),
                    late=result.time > claimed.notification.deliver_by,
                )
