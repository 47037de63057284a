"""
When groups are due: on a fixed grid, whatever the load.

Pure. A tick that comes late runs late; only of those further behind than `CATCH_UP_MS` the
oldest are given up, and counted.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass


CATCH_UP_MS = 300_000
"""How far behind a group may be and still run every tick: what a suspended machine missed."""

TICKS_MAX = 300
"""Most ticks of one group that are caught up with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a group is to do now."""

    ticks: tuple[int, ...]
    """Times to evaluate at, Unix milliseconds, rising."""

    missed: int
    """Ticks given up."""


def offset_ms(group: str, interval_ms: int, step_ms: int) -> int:
    """Return where in its interval *group* is evaluated: groups spread over it in whole steps."""
    places = max(1, interval_ms // step_ms)
    return zlib.crc32(group.encode()) % places * step_ms


def due(*, interval_ms: int, offset: int, last_ms: int, now_ms: int) -> Due:
    """
    Return the ticks after *last_ms* up to *now_ms*.

    Args:
        interval_ms: Between two ticks; at least 1.
        offset: Of the grid; `offset_ms`.
        last_ms: The last tick that ran, or when the group was made.

    """
    newest = (now_ms - offset) // interval_ms * interval_ms + offset
    oldest = (last_ms - offset) // interval_ms * interval_ms + offset + interval_ms
    if newest < oldest:
        return Due(ticks=(), missed=0)
    kept = max(1, min(TICKS_MAX, CATCH_UP_MS // interval_ms))
    first = max(oldest, newest - (kept - 1) * interval_ms)
    return Due(
        ticks=tuple(range(first, newest + 1, interval_ms)),
        missed=(first - oldest) // interval_ms,
    )


def next_ms(*, interval_ms: int, offset: int, now_ms: int) -> int:
    """Return the first tick after *now_ms*."""
    return (now_ms - offset) // interval_ms * interval_ms + offset + interval_ms
