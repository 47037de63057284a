"""Carries out what the sampler decides: spans go from the table, weights are stored."""

# ruff: noqa: S608 - every value in the SQL is a number or a hexadecimal literal

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from opentelemetry.metrics import Observation

from telemetry.store.engine import StoreFailed


if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from telemetry.sampling.sampler import Dropped, Sampler
    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

SETTLE_S = 5.0
"""Spans reach their table about a second after they came."""

AGAIN_S = 60.0
"""What reached it later, since the loader was behind, goes then."""

EVERY_S = 5.0
IDS_MAX = 10_000
"""Traces that one statement deletes."""

WAITING_MAX = 1_000_000
"""Traces that wait to be deleted; beyond it they stay."""


class SampleKeeper:
    """Deletes the traces that one sampler drops. `run` until cancelled."""

    def __init__(self, sampler: Sampler, sessions: Sessions) -> None:
        self._sampler = sampler
        self._sessions = sessions
        self._waiting: list[tuple[float, Dropped, bool]] = []
        self._dropped = 0

    async def run(self) -> None:
        """Decide each second, delete each `EVERY_S`."""
        deleted = time.monotonic()
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            found = self._sampler.decide(time.time_ns() // 1_000_000)
            room = max(0, WAITING_MAX - len(self._waiting))
            self._waiting += [(now + SETTLE_S, one, True) for one in found.dropped[:room]]
            self._dropped += len(found.dropped[:room])
            try:
                await self._weigh(found.weights)
                if now - deleted >= EVERY_S:
                    deleted = now
                    await self._delete(now)
            except StoreFailed as error:
                log.warning("sampling_failed", code=error.code, waiting=len(self._waiting))

    async def _weigh(self, weights: list[tuple[bytes, float]]) -> None:
        if weights:
            rows = ", ".join(
                f"(unhex('{one.hex()}'), {weight!r}, now())" for one, weight in weights
            )
            await self._sessions.insert(f"INSERT INTO trace_weights VALUES {rows}")

    async def _delete(self, now: float) -> None:
        due = [row for row in self._waiting if row[0] <= now][:IDS_MAX]
        if not due:
            return
        ids = ", ".join(f"unhex('{one.trace_id.hex()}')" for _, one, _ in due)
        begun = min(one.start_ns for _, one, _ in due)
        # The time leaves parts untouched that are older.
        await self._sessions.delete(
            "spans",
            f"start >= fromUnixTimestamp64Nano({begun}, 'UTC') AND trace_id IN ({ids})",
        )
        done = {id(row) for row in due}
        self._waiting = [row for row in self._waiting if id(row) not in done]
        self._waiting += [(now + AGAIN_S, one, False) for _, one, first in due if first]

    def publish(self, meter: Meter) -> None:
        """Tell how many traces were dropped, and which share of the ordinary ones stays."""
        meter.create_observable_counter(
            "telemetry.traces.dropped",
            [lambda _: [Observation(self._dropped)]],
            unit="{trace}",
            description="Ordinary traces that the budget of spans had no room for",
        )
        meter.create_observable_gauge(
            "telemetry.traces.share",
            [lambda _: [Observation(self._sampler.share)]],
            unit="1",
            description="Share of the ordinary traces that stays",
        )
