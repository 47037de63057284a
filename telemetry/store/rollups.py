"""
Roll-ups: what samples come to in five minutes and in an hour, so that long ranges read little.

A row's window is left-open, as PromQL's are: it ends at `end_ms` and holds what came after
`end_ms - step`. All of it is of the samples within: `increase` is the growth from the first to the
last, resets counted as Prometheus counts them, `fell` what those resets lost. Since first and last
are there too, windows that adjoin are put together to the answer that their samples give.

Stale markers count for nothing, but a window whose newest sample is one has `ended`.

A window is rolled up once it is over for `SETTLED_MS`; what comes into it later has it rolled up
anew: of equal rows the last written counts.
"""

# ruff: noqa: S608 - names of our tables and numbers

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import structlog

from telemetry.store.engine import StoreFailed
from telemetry.store.model import STALE_NAN_BITS


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

FINE_MS, COARSE_MS = 300_000, 3_600_000
SETTLED_MS = 60_000
FORMAT = 2
"""What rows hold; those of an earlier one are made anew."""

TABLES = {FINE_MS: "roll_5m", COARSE_MS: "roll_1h"}

_PART_MS = COARSE_MS
"""So much is rolled up by one statement."""

_ROWS_AT_ONCE = 4_000_000
"""... of so many rows at most: beyond it of a part of the series only. It takes some 0.1 KB a row."""

_FIRST_MS = 400 * 86_400_000
"""A store without roll-ups gets them for so long back: as long as they stay."""

_EVERY_S = 60.0


class Roller:
    """Keeps the roll-ups of a store up to date. `run` until cancelled."""

    def __init__(self, sessions: Sessions, *, clock: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._clock = clock

    async def run(self, *, after: asyncio.Event) -> None:
        """Once *after* is set, roll up each minute what is over; faults wait for the next."""
        await after.wait()
        while True:
            try:
                await self.roll()
            except StoreFailed as error:
                log.warning("roll_up_failed", code=error.code, error=str(error)[:300])
            await asyncio.sleep(_EVERY_S)

    async def roll(self) -> None:
        """
        Roll up what is over and isn't yet, and what has come late since the last time.

        Raises:
            StoreFailed: The store refused a statement; the next call goes on there.

        """
        now_ms = int(self._clock() * 1000)
        until = (now_ms - SETTLED_MS) // FINE_MS * FINE_MS
        rolled, segment = await self._state()
        newest = int(await self._sessions.execute("SELECT max(segment) FROM samples"))
        if rolled == 0:
            # Everything is late.
            rolled, segment = until, -1
        if newest > segment:
            for after_ms, until_ms in await self._late(segment, rolled):
                await self._roll_part(after_ms, until_ms)
        while rolled < until:
            part_end = min(until, (rolled // _PART_MS + 1) * _PART_MS)
            await self._roll_part(rolled, part_end)
            rolled = part_end
            await self._remember(rolled, max(segment, 0))
        await self._remember(rolled, newest)

    async def _state(self) -> tuple[int, int]:
        answer = await self._sessions.execute(
            f"SELECT max(until_ms), max(segment) FROM rolled WHERE one = {FORMAT}"
        )
        until, segment = answer.split()
        return int(until), int(segment)

    async def _remember(self, until_ms: int, segment: int) -> None:
        await self._sessions.execute(
            f"INSERT INTO rolled (one, until_ms, segment) VALUES ({FORMAT}, {until_ms}, {segment})"
        )

    async def _late(self, segment: int, rolled: int) -> list[tuple[int, int]]:
        """Return the parts, rolled up before, with windows that later segments have added to."""
        answer = await self._sessions.execute(
            f"SELECT DISTINCT {_end('ts_ms', FINE_MS)} AS end_ms FROM samples"
            f" WHERE segment > {segment} AND ts_ms > {rolled - _FIRST_MS} AND ts_ms <= {rolled}"
            " ORDER BY end_ms"
        )
        ends = [int(line) for line in answer.split()]
        parts = itertools.groupby(ends, key=lambda end: (end - 1) // _PART_MS)
        windows = [list(part) for _, part in parts]
        return [(part[0] - FINE_MS, part[-1]) for part in windows]

    async def _roll_part(self, after_ms: int, until_ms: int) -> None:
        which = f"ts_ms > {after_ms} AND ts_ms <= {until_ms}"
        for share in await self._shares("samples", which):
            await self._sessions.insert(_fine(share))
        hours = range(after_ms // COARSE_MS * COARSE_MS, until_ms, COARSE_MS)
        for hour in hours:
            which = f"end_ms > {hour} AND end_ms <= {hour + COARSE_MS}"
            for share in await self._shares("roll_5m", which):
                await self._sessions.insert(_coarse(hour, share))

    async def _shares(self, table: str, which: str) -> list[str]:
        """Return conditions that split the rows of which *which* is true by their series."""
        rows = await self._sessions.execute(f"SELECT count() FROM {table} WHERE {which}")
        shares = -(-int(rows) // _ROWS_AT_ONCE)
        if shares <= 1:
            return [which]
        return [f"{which} AND series_id % {shares} = {share}" for share in range(shares)]


def _end(time_ms: str, step_ms: int) -> str:
    """Return the SQL of the end of the window that a time is in."""
    return f"(intDiv({time_ms} + {step_ms - 1}, {step_ms}) * {step_ms})"


def _least(function: str, column: str, where: str) -> str:
    """Return the SQL of the least or greatest number, NaN only where there is no other."""
    number = f"{where} AND NOT isNaN({column})"
    return f"if(countIf({number}) = 0, nan, {function}If({column}, {number}))"


_INTO = (
    "(metric, series_id, end_ms, count, sum, min, max, first, last, first_ms, last_ms, increase,"
    " resets, fell, ended)"
)
_BEFORE = "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW"


def _fine(which: str) -> str:
    """Return the statement that rolls up the samples of which *which* is true, whole windows."""
    return f"""INSERT INTO roll_5m {_INTO}
    SELECT metric, series_id, end_ms, countIf(live), sumIf(v, live), {_least("min", "v", "live")},
        {_least("max", "v", "live")}, argMinIf(v, ts_ms, live) AS earliest,
        argMaxIf(v, ts_ms, live) AS latest, minIf(ts_ms, live), maxIf(ts_ms, live),
        latest - earliest + sumIf(before, reset), countIf(reset), sumIf(before, reset),
        max(ts_ms) > maxIf(ts_ms, live)
    FROM (
        SELECT metric, series_id, ts_ms, v, end_ms, live,
            lagInFrame(v, 1, nan) OVER one AS before, live AND v < before AS reset
        FROM (
            SELECT metric, series_id, ts_ms, {_end("ts_ms", FINE_MS)} AS end_ms,
                argMax(number, segment) AS v,
                reinterpretAsUInt64(v) != {STALE_NAN_BITS} AS live
            FROM samples WHERE {which}
            GROUP BY metric, series_id, ts_ms)
        WINDOW one AS (PARTITION BY metric, series_id, end_ms, live ORDER BY ts_ms {_BEFORE}))
    GROUP BY metric, series_id, end_ms
    HAVING countIf(live) > 0
    SETTINGS max_threads = 1, max_partitions_per_insert_block = 0"""


def _coarse(hour_ms: int, which: str) -> str:
    """Return the statement that rolls up the hour after *hour_ms*, rows of five minutes by *which*."""
    end_ms = hour_ms + COARSE_MS
    return f"""INSERT INTO roll_1h {_INTO}
    SELECT metric, series_id, {end_ms}, sum(w.count), sum(w.sum),
        {_least("min", "w.min", "1")}, {_least("max", "w.max", "1")},
        argMin(w.first, w.first_ms) AS earliest, argMax(w.last, w.last_ms) AS latest,
        min(w.first_ms), max(w.last_ms),
        latest - earliest + (sum(w.fell) + sumIf(w.before, w.reset)),
        sum(w.resets) + countIf(w.reset), sum(w.fell) + sumIf(w.before, w.reset),
        maxIf(w.ended, w.end_ms = {end_ms})
    FROM (
        SELECT *, lagInFrame(last, 1, nan) OVER one AS before, first < before AS reset
        FROM roll_5m FINAL WHERE {which}
        WINDOW one AS (PARTITION BY metric, series_id ORDER BY end_ms {_BEFORE})) AS w
    GROUP BY metric, series_id
    SETTINGS max_threads = 1, max_partitions_per_insert_block = 0"""
