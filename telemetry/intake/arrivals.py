"""When samples were acknowledged: of each of the last requests, its times and when it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUESTS_MAX = 4_096
"""Requests that are remembered: at 500 a second those of the last eight seconds."""


class Arrivals:
    """The last requests of samples. Used on the event loop only."""

    def __init__(self) -> None:
        self._first = np.zeros(REQUESTS_MAX, np.int64)
        self._last = np.full(REQUESTS_MAX, -1, np.int64)
        self._acked = np.zeros(REQUESTS_MAX, np.int64)
        self._next = 0

    def note(self, times: NDArray[np.uint64], acked_ms: int) -> None:
        """Remember a request with samples of *times*, Unix milliseconds, at least one."""
        at = self._next
        self._first[at], self._last[at], self._acked[at] = times.min(), times.max(), acked_ms
        self._next = (at + 1) % REQUESTS_MAX

    def latest(self, event_ms: int, before_ms: int) -> int:
        """
        Return when a sample of *event_ms* had been acknowledged at the latest; 0: unknown.

        It is the last request before *before_ms* that may have held it: others' samples of about
        that time can make it later than it was, never earlier.
        """
        may = (self._first <= event_ms) & (event_ms <= self._last) & (self._acked <= before_ms)
        return int(self._acked[may].max(initial=0))
