"""What the head is told by the store: what was there before the start, and labels."""

# ruff: noqa: S608 - what is put in are numbers

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import numpy as np
import structlog

from meshkit.errors import MeshError
from telemetry.promql.labels import make
from telemetry.store.model import Limits


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from telemetry.head.head import Head
    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

SLICE_MS = 60_000
"""The store is read back slice by slice, the newest first."""

_FUTURE_MS = 600_000
_IDS_AT_ONCE = 10_000
_RETRY_S = 0.2
_LOOKUPS_MAX = 50
"""How often labels are looked for before a series is given up."""

_BOUNDS = Limits(rows_max=50_000_000, memory_bytes_max=1_500_000_000)
_ROW = np.dtype([("id", "<u8"), ("ts_ms", "<i8"), ("value", "<f8")])


class Refill:
    """
    Fills a head at its start, then keeps it named and swept. `run` until cancelled.

    Args:
        recovered: Set once all that an earlier run acknowledged is in the tables.
        span: How far back the head is filled, as far as half of its memory allows.
        clock: Unix nanoseconds.

    """

    def __init__(
        self,
        head: Head,
        sessions: Sessions,
        *,
        recovered: asyncio.Event,
        span: timedelta,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._head = head
        self._sessions = sessions
        self._recovered = recovered
        self._span_ms = int(span.total_seconds() * 1000)
        self._clock = clock
        self._looked: dict[int, int] = {}

    async def run(self) -> None:
        """Fill, then look up labels and free memory whenever the head wants it."""
        started_ms = self._clock() // 1_000_000
        await self._recovered.wait()
        await self._tell_natives()
        horizon_ms = await self._fill(started_ms)
        self._head.begin(horizon_ms)
        log.info("head_filled", series=self._head.series, seconds=(started_ms - horizon_ms) // 1000)
        while True:
            await self._head.wanted.wait()
            self._head.wanted.clear()
            if self._head.is_low:
                await asyncio.to_thread(self._head.sweep)
            if self._head.nameless and not await self._name():
                await asyncio.sleep(_RETRY_S)
                self._head.wanted.set()

    async def _tell_natives(self) -> None:
        """Tell which metrics have native histograms; without an answer the head doesn't begin."""
        while True:
            try:
                rows = await self._sessions.query(
                    "SELECT DISTINCT tenant, name FROM series WHERE kind = 'exponential'",
                    "JSONCompactEachRow",
                    _BOUNDS,
                )
            except MeshError as error:
                log.warning("natives_not_told", reason=error.reason)
                await asyncio.sleep(_RETRY_S)
            else:
                for line in rows.splitlines():
                    self._head.know_native(*json.loads(line))
                return

    async def _fill(self, started_ms: int) -> int:
        """Return from when on everything is there."""
        horizon = started_ms + _FUTURE_MS
        until, oldest_ms = "", 0
        for begin in range(started_ms - SLICE_MS, started_ms - SLICE_MS - self._span_ms, -SLICE_MS):
            begin_ms = max(begin, started_ms - self._span_ms)
            try:
                if not until:
                    oldest_ms = await self._oldest(begin_ms)
                elif horizon < oldest_ms:
                    return started_ms - self._span_ms  # Nothing is older.
                if not await self._fill_slice(f"ts_ms > {begin_ms}{until}"):
                    break
            except MeshError as error:
                log.warning("head_not_filled", reason=error.reason)
                break
            horizon, until = begin_ms, f" AND ts_ms <= {begin_ms}"
            if begin_ms == started_ms - self._span_ms:
                break
        return horizon

    async def _oldest(self, otherwise_ms: int) -> int:
        """Return the time of the oldest sample; without any, what comes after *otherwise_ms*."""
        answer = await self._sessions.query(
            "SELECT count(), min(ts_ms) FROM samples", "TSV", _BOUNDS
        )
        count, oldest = map(int, answer.split())
        return oldest if count else otherwise_ms + 1

    async def _fill_slice(self, when: str) -> bool:
        names = await self._sessions.query(
            "SELECT tenant, metric, series_id, labels FROM series WHERE series_id IN"
            f" (SELECT DISTINCT series_id FROM samples WHERE {when})",
            "JSONCompactEachRow",
            _BOUNDS,
        )
        await self._tell(names.splitlines())
        rows = await self._sessions.query(
            f"SELECT series_id, ts_ms, number FROM samples WHERE {when}"
            " ORDER BY series_id, ts_ms, segment",
            "RowBinary",
            _BOUNDS,
        )
        found = np.frombuffer(rows, _ROW)
        if self._head.free_samples < 2 * len(found):
            return False
        return await asyncio.to_thread(
            self._head.fill,
            found["id"].copy(),  # Writable, whatever there is: compiled for nothing else.
            found["ts_ms"].copy(),
            found["value"].copy(),
        )

    async def _name(self) -> bool:
        """Look up the labels of nameless series; return whether none is left."""
        ids = self._head.nameless[:_IDS_AT_ONCE]
        try:
            answer = await self._sessions.query(
                "SELECT tenant, metric, series_id, labels FROM series WHERE series_id IN"
                f" ({','.join(map(str, ids))})",
                "JSONCompactEachRow",
                _BOUNDS,
            )
        except MeshError as error:
            log.warning("labels_not_found", reason=error.reason)
            return False
        await self._tell(answer.splitlines())
        for one in set(ids).intersection(self._head.nameless):
            self._looked[one] = self._looked.get(one, 0) + 1
            if self._looked[one] >= _LOOKUPS_MAX:
                log.warning("series_without_labels", series_id=one)
                self._head.forget(one)
        if not self._head.nameless:
            self._looked.clear()
        return not self._head.nameless

    async def _tell(self, lines: Sequence[bytes]) -> None:
        for first in range(0, len(lines), 1_000):
            rows = map(json.loads, lines[first : first + 1_000])
            self._head.name_all(
                ((metric, series_id), tenant, make(labels))
                for tenant, metric, series_id, labels in rows
            )
            await asyncio.sleep(0)
