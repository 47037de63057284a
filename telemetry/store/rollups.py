"""
Roll-ups: what samples come to in five minutes and in an hour, so that long ranges read little.

A row's window is left-open, as PromQL's are: it ends at `end_ms` and holds what came after
`end_ms - step`. `increase` is the growth from the sample before the window's first (if it is
at most five minutes older) to its last, resets counted as Prometheus counts them: so the increase
over adjoining windows is their sum, and `rate` stays right. Stale markers count for nothing.

A window is rolled up once it is over for `SETTLED_MS`; what comes into it later has it rolled up
anew: of equal rows the last written counts.
"""

# ruff: noqa: S608 - names of our tables and numbers

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from telemetry.store.model import STALE_NAN_BITS, Limits
from telemetry.store.sessions import StoreFailed


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from telemetry.store.model import Series
    from telemetry.store.sessions import Sessions

log = structlog.get_logger()

FINE_MS, COARSE_MS = 300_000, 3_600_000
SETTLED_MS = 60_000
_LOOKBACK_MS = 300_000
_PART_MS = COARSE_MS
"""So much is rolled up by one statement."""

_FIRST_MS = 7 * 86_400_000
"""A store without roll-ups gets them for so long back."""

_EVERY_S = 60.0
_TABLES = {FINE_MS: "roll_5m", COARSE_MS: "roll_1h"}
_BOUNDS = Limits(rows_max=50_000_000, memory_bytes_max=1_500_000_000)
_ROW = np.dtype(
    [
        ("id", "<u8"),
        ("end_ms", "<i8"),
        ("count", "<u8"),
        *((name, "<f8") for name in ("sum", "min", "max", "first", "last", "increase")),
        ("resets", "<u8"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """
    Roll-ups of some series, as columns.

    Those of the i-th series asked for stand at `offsets[i]:offsets[i + 1]`, by rising time.
    """

    offsets: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    count: NDArray[np.uint64]
    sum: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    increase: NDArray[np.float64]
    resets: NDArray[np.uint64]


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
            rolled = until - _FIRST_MS
        elif newest > segment:
            for window in await self._late(segment, rolled):
                await self._roll_part(window - FINE_MS, window)
        while rolled < until:
            part_end = min(until, (rolled // _PART_MS + 1) * _PART_MS)
            await self._roll_part(rolled, part_end)
            rolled = part_end
            await self._remember(rolled, segment)
        await self._remember(rolled, newest)

    async def _state(self) -> tuple[int, int]:
        answer = await self._sessions.execute("SELECT max(until_ms), max(segment) FROM rolled")
        until, segment = answer.split()
        return int(until), int(segment)

    async def _remember(self, until_ms: int, segment: int) -> None:
        await self._sessions.execute(
            f"INSERT INTO rolled (one, until_ms, segment) VALUES (1, {until_ms}, {segment})"
        )

    async def _late(self, segment: int, rolled: int) -> list[int]:
        """Return the ends of windows, rolled up before, that later segments have added to."""
        answer = await self._sessions.execute(
            f"SELECT DISTINCT {_end('ts_ms', FINE_MS)} AS end_ms FROM samples"
            f" WHERE segment > {segment} AND ts_ms <= {rolled} ORDER BY end_ms"
        )
        touched = {int(line) for line in answer.split()}
        # The growth of the window after it begins with its last sample.
        return sorted(touched | {one + FINE_MS for one in touched if one + FINE_MS <= rolled})

    async def _roll_part(self, after_ms: int, until_ms: int) -> None:
        await self._sessions.insert(_fine(after_ms, until_ms))
        hours = range(after_ms // COARSE_MS * COARSE_MS, until_ms, COARSE_MS)
        for hour in hours:
            await self._sessions.insert(_coarse(hour))


async def read_rollups(
    sessions: Sessions, series: Sequence[Series], *, step_ms: int, start_ms: int, end_ms: int
) -> Rolled:
    """
    Return the roll-ups of *series* that end from *start_ms* to *end_ms*, both inclusive.

    Args:
        step_ms: `FINE_MS` or `COARSE_MS`.

    """
    ids = np.fromiter((key for one in series for _, key in one.keys), np.uint64)
    owners = np.repeat(np.arange(len(series)), [len(one.keys) for one in series])
    rows = np.zeros(0, _ROW)
    if len(ids):
        metrics = sorted({metric for one in series for metric, _ in one.keys})
        answer = await sessions.query(
            "SELECT series_id, end_ms, count, sum, min, max, first, last, increase, resets"
            f" FROM {_TABLES[step_ms]} FINAL"
            f" WHERE metric IN ({','.join(map(str, metrics))})"
            f" AND series_id IN ({','.join(map(str, ids.tolist()))})"
            f" AND end_ms BETWEEN {start_ms} AND {end_ms}",
            "RowBinary",
            _BOUNDS,
        )
        rows = np.frombuffer(answer, _ROW)
    by_id = np.argsort(ids, kind="stable")
    owner = owners[by_id][np.searchsorted(ids[by_id], rows["id"])] if len(rows) else owners[:0]
    order = np.lexsort((rows["end_ms"], owner))
    rows, owner = rows[order], owner[order]
    return Rolled(
        offsets=np.searchsorted(owner, np.arange(len(series) + 1)).astype(np.int64),
        **{name: np.ascontiguousarray(rows[name]) for name in (_ROW.names or ())[1:]},
    )


def _end(time_ms: str, step_ms: int) -> str:
    """Return the SQL of the end of the window that a time is in."""
    return f"(intDiv({time_ms} + {step_ms - 1}, {step_ms}) * {step_ms})"


def _fine(after_ms: int, until_ms: int) -> str:
    """Return the statement that rolls up the samples in `(after_ms, until_ms]`."""
    stale = f"reinterpretAsUInt64(number) != {STALE_NAN_BITS}"
    return f"""INSERT INTO roll_5m (metric, series_id, end_ms, count, sum, min, max, first, last,
        first_ms, last_ms, increase, resets)
    SELECT metric, series_id, {_end("ts_ms", FINE_MS)} AS end_ms, count(), sum(value), min(value),
        max(value), argMin(value, ts_ms), argMax(value, ts_ms), min(ts_ms), max(ts_ms),
        sum(grown), countIf(reset)
    FROM (
        SELECT metric, series_id, ts_ms, value,
            lagInFrame(ts_ms, 1, 0) OVER one AS before_ms,
            lagInFrame(value, 1, 0.) OVER one AS before,
            before_ms >= ts_ms - {_LOOKBACK_MS} AS follows,
            follows AND value < before AS reset,
            multiIf(NOT follows, 0., reset, value, value - before) AS grown
        FROM (
            SELECT metric, series_id, ts_ms, argMax(number, segment) AS value FROM samples
            WHERE ts_ms > {after_ms - _LOOKBACK_MS} AND ts_ms <= {until_ms} AND {stale}
            GROUP BY metric, series_id, ts_ms)
        WINDOW one AS (PARTITION BY metric, series_id ORDER BY ts_ms
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))
    WHERE ts_ms > {after_ms}
    GROUP BY metric, series_id, end_ms
    SETTINGS max_threads = 1, max_partitions_per_insert_block = 0"""


def _coarse(hour_ms: int) -> str:
    """Return the statement that rolls up the hour after *hour_ms* from its five minutes."""
    return f"""INSERT INTO roll_1h (metric, series_id, end_ms, count, sum, min, max, first, last,
        first_ms, last_ms, increase, resets)
    SELECT metric, series_id, {hour_ms + COARSE_MS}, sum(w.count), sum(w.sum), min(w.min),
        max(w.max), argMin(w.first, w.first_ms), argMax(w.last, w.last_ms), min(w.first_ms),
        max(w.last_ms), sum(w.increase), sum(w.resets)
    FROM (SELECT * FROM roll_5m FINAL
        WHERE end_ms > {hour_ms} AND end_ms <= {hour_ms + COARSE_MS}) AS w
    GROUP BY metric, series_id
    SETTINGS max_threads = 1, max_partitions_per_insert_block = 0"""
