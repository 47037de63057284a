"""Keeps the map stored: what the join has counted goes to the table every few seconds."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from opentelemetry.metrics import Observation

from telemetry.store.engine import StoreFailed


if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from telemetry.map.edges import Edges
    from telemetry.map.store import Edge, EdgeStore

log = structlog.get_logger()

STORE_EVERY_S = 10.0
"""What a crash may lose of the map, and what still waited for its other span."""

_LOOK_EVERY_S = 1.0


class Keeper:
    """Stores one map's calls. `run` until cancelled."""

    def __init__(self, edges: Edges, store: EdgeStore) -> None:
        self._edges = edges
        self._store = store
        self._storing = asyncio.Lock()
        self._unstored = 0

    async def run(self) -> None:
        """Store what has been counted, each `STORE_EVERY_S`, or as it is needed for room."""
        stored = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._edges.crowded or time.monotonic() - stored >= STORE_EVERY_S:
                await self.store()
                stored = time.monotonic()

    async def store(self) -> None:
        """Store all that has been counted until now; where that fails, it is lost and said."""
        async with self._storing:
            self._edges.expire(time.time_ns() // 1_000_000)
            calls = self._edges.take_calls()
            try:
                await self._store.write(calls)
            except StoreFailed as error:
                self._unstored += sum(one.calls for one in calls)
                log.warning("map_not_stored", edges=len(calls), code=error.code)

    async def read(
        self, start_minute: int, end_minute: int, *, service: str, tenant: str
    ) -> list[Edge]:
        """Return the edges as `EdgeStore.read` does, with all that is known by now."""
        await self.store()
        return await self._store.read(start_minute, end_minute, service=service, tenant=tenant)

    def publish(self, meter: Meter) -> None:
        """Tell how many spans wait, and what the map has missed."""
        meter.create_observable_gauge(
            "telemetry.map.spans",
            [lambda _: [Observation(self._edges.waiting)]],
            unit="{span}",
            description="Spans that wait for their parents or children",
        )
        meter.create_observable_counter(
            "telemetry.map.spans.early",
            [lambda _: [Observation(self._edges.gone_early)]],
            unit="{span}",
            description="Spans that waited less than TELEMETRY_MAP_WAIT, for want of room",
        )
        meter.create_observable_counter(
            "telemetry.map.calls.lost",
            [lambda _: [Observation(self._edges.lost + self._unstored)]],
            unit="{call}",
            description="Calls that the map misses: too many edges at once, or not stored",
        )
