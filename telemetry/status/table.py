"""Rows of the status table, of what queries find. Pure; times are Unix milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from numpy.typing import NDArray

ERROR_SHARE_MAX = 0.05
"""Beyond it a service counts as degraded."""

SLOT_MS_MIN = 30_000
"""Processes tell of themselves each 5 s: in a slot they should have several times."""

SLOTS_MAX = 500


class State(Enum):
    """How a service does."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """When a service was heard."""

    instances: int
    uptime: float
    """Share of the slots since the first that it was heard in."""

    since_ms: int
    """Start of the slots that it has been heard in without a gap; 0: it isn't heard now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A service."""

    service: str
    presence: Presence
    requests_per_minute: float = 0.0
    error_share: float = 0.0
    p99_s: float | None = None
    cpu_cores: float = 0.0
    memory_bytes: int = 0
    firing: int = 0
    """Alerts that fire for it."""

    paging: bool = False
    """Whether one of them is a page."""

    budget_remaining: float | None = None

    @property
    def state(self) -> State:
        """How it does, in a word."""
        if not self.presence.instances:
            return State.DOWN
        if self.paging or self.error_share > ERROR_SHARE_MAX:
            return State.DEGRADED
        return State.UP


def slot_of(window_ms: int) -> int:
    """Return the length of a slot."""
    return max(SLOT_MS_MIN, -(-window_ms // SLOTS_MAX))


def grid_of(window_ms: int, now_ms: int) -> tuple[int, int, int]:
    """Return the ends of the slots: the first, the last, and how far apart they are."""
    slot_ms = slot_of(window_ms)
    count = max(1, window_ms // slot_ms)
    return now_ms - (count - 1) * slot_ms, now_ms, slot_ms


def presence(
    ts: NDArray[np.int64], heard: NDArray[np.float64], grid: tuple[int, int, int]
) -> Presence:
    """
    Return when a service was heard.

    Args:
        ts: Ends of the slots that it was heard in, rising.
        heard: How many processes were, in each of them.
        grid: `grid_of`.

    """
    first, last, slot_ms = grid
    count = (last - first) // slot_ms + 1
    there = np.zeros(count, np.bool_)
    slots = (np.asarray(ts) - first) // slot_ms
    there[slots] = np.asarray(heard) > 0
    if not there.any():
        return Presence(instances=0, uptime=0.0, since_ms=0)
    known = there[int(np.argmax(there)) :]
    gaps = np.flatnonzero(~there)
    run = count if not gaps.size else count - 1 - int(gaps[-1])
    return Presence(
        instances=int(heard[-1]) if there[-1] else 0,
        uptime=float(known.mean()),
        since_ms=last - run * slot_ms if run else 0,
    )
