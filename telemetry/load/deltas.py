"""
Deltas added up: what a sender tells as differences is stored as a counter, like any other.

The sums go on over restarts: they are read back from the store, whose last value of a series is
its sum. Values are added in the order of the log, so that a replay makes the same rows. One that
is late, that is not after the last of its series, still counts: a millisecond after that.
"""

# ruff: noqa: S608 - names of our tables and numbers

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.scan.hashing import find
from telemetry.scan.sink import DELTA, Sample
from telemetry.scan.wire import bare
from telemetry.store.model import STALE_NAN_BITS


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry.store.sessions import Sessions

    Words = NDArray[np.uint64]

_STATE = np.dtype([("series", "<u8"), ("total", "<f8"), ("last_ms", "<i8"), ("start_ms", "<i8")])
_ROOM_FIRST = 1 << 10
_SERIES, _TIME, _VALUE, _START, _FLAGS = (
    int(one) for one in (Sample.SERIES, Sample.TIME, Sample.VALUE, Sample.START, Sample.FLAGS)
)
_U0 = np.uint64(0)
_DELTA = np.uint64(DELTA)
_STALE = np.uint64(STALE_NAN_BITS)


def has_deltas(samples: Words) -> bool:
    """Whether any of *samples* is a difference."""
    return bool((samples[_FLAGS] & _DELTA).any())


@bare
def _add_up(
    samples: Words,
    floats: NDArray[np.float64],
    known: Words,
    totals: NDArray[np.float64],
    times: NDArray[np.int64],
) -> int:
    """Replace each delta of *samples* by the sum so far; return how many series are new."""
    new = 0
    for row in range(samples.shape[1]):
        if samples[_FLAGS, row] & _DELTA == _U0:
            continue
        at = find(known, samples[_SERIES, row])
        time = np.int64(samples[_TIME, row])
        if at < 0:
            at = -1 - at
            known[at] = samples[_SERIES, row]
            totals[at] = 0.0
            times[at, 1] = np.int64(samples[_START, row])
            new += 1
        else:
            time = max(time, times[at, 0] + 1)
        times[at, 0] = time
        samples[_TIME, row] = np.uint64(time)
        samples[_START, row] = np.uint64(times[at, 1])
        if samples[_VALUE, row] != _STALE:
            totals[at] += floats[_VALUE, row]
            floats[_VALUE, row] = totals[at]
    return new


def warm() -> None:
    """Load or compile what sums run on."""
    nothing = np.zeros((len(Sample), 0), np.uint64)
    known = np.zeros(_ROOM_FIRST, np.uint64)
    totals, times = np.zeros(_ROOM_FIRST), np.zeros((_ROOM_FIRST, 2), np.int64)
    _add_up(nothing, nothing.view(np.float64), known, totals, times)


class Deltas:
    """The sums of all delta series. Used by the loader alone."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._read = False
        self._count = 0
        self._known = np.zeros(_ROOM_FIRST, np.uint64)
        self._totals = np.zeros(_ROOM_FIRST)
        self._times = np.zeros((_ROOM_FIRST, 2), np.int64)

    async def ready(self) -> None:
        """
        Read the sums that the store holds, once: when no rows of a later segment are in it.

        Raises:
            StoreFailed: The store can't be read.

        """
        if self._read:
            return
        answer = await self._sessions.execute(
            "SELECT series_id, argMax(number, ts_ms), max(ts_ms), argMax(start_ms, ts_ms)"
            " FROM samples WHERE series_id IN (SELECT series_id FROM series WHERE delta)"
            f" AND reinterpretAsUInt64(number) != {STALE_NAN_BITS} GROUP BY series_id",
            "RowBinary",
        )
        state = np.frombuffer(answer, _STATE)
        self._grow(len(state))
        for series, total, last_ms, start_ms in state:
            at = -1 - find(self._known, series)
            self._known[at], self._totals[at] = series, total
            self._times[at] = last_ms, start_ms
        self._count = len(state)
        self._read = True

    def add_up(self, samples: Words) -> None:
        """Replace the deltas among *samples* by sums; they must be `ready`."""
        self._grow(int(np.count_nonzero(samples[_FLAGS] & _DELTA)))
        self._count += _add_up(
            samples, samples.view(np.float64), self._known, self._totals, self._times
        )

    def _grow(self, more: int) -> None:
        room = len(self._known)
        while (self._count + more) * 2 > room:
            room *= 2
        if room == len(self._known):
            return
        known, totals, times = np.zeros(room, np.uint64), np.zeros(room), np.zeros((room, 2), int)
        for old in np.flatnonzero(self._known):
            at = -1 - find(known, self._known[old])
            known[at], totals[at], times[at] = self._known[old], self._totals[old], self._times[old]
        self._known, self._totals, self._times = known, totals, times
