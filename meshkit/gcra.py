"""
The generic cell rate algorithm (ITU-T I.371): exact limits with one number for each bucket.

Pure, and in whole numbers: time is counted in parts of a nanosecond so small that a call is a
whole number of them, so nothing is rounded away however often it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Decision:
    """What a limit says to a call."""

    allowed: bool
    state: int
    """What to keep of the bucket; the same as before if the call is refused."""

    remaining: int
    """Calls of cost 1 that could follow at once."""

    retry_after_ns: int
    """How long until the same call would be allowed; 0 if it is."""

    reset_after_ns: int
    """How long until the bucket is full."""


@dataclass(frozen=True, slots=True)
class Gcra:
    """
    A limit: *requests* in *interval_ns*, steadily, and *burst* at once after a pause.

    Args:
        requests: 1 or more.
        interval_ns: 1 or more.
        burst: 1 or more.

    """

    requests: int
    interval_ns: int
    burst: int

    def decide(self, state: int, now_ns: int, cost: int = 1) -> Decision:
        """
        Decide on a call; the bucket is `state`, 0 for one that is full.

        A call that costs more than the burst is never allowed; it is told to wait as long as
        a full bucket takes.
        """
        now = now_ns * self.requests
        room = self.interval_ns * self.burst
        used = max(state - now, 0)
        after = used + self.interval_ns * cost
        if after > room:
            wait = min(after - room, room)
            return Decision(
                allowed=False,
                state=state,
                remaining=max(0, (room - used) // self.interval_ns),
                retry_after_ns=-(-wait // self.requests),
                reset_after_ns=-(-used // self.requests),
            )
        return Decision(
            allowed=True,
            state=now + after,
            remaining=(room - after) // self.interval_ns,
            retry_after_ns=0,
            reset_after_ns=-(-after // self.requests),
        )

    def idle_at_ns(self, state: int) -> int:
        """Return when a bucket is as full as a new one, so that it can be forgotten."""
        return -(-state // self.requests)
