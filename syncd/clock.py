"""
The hybrid logical clock: milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.

It only chooses among writes that didn't know of each other; what knew of what is told by `seq`.
"""

from __future__ import annotations

from datetime import timedelta


COUNTER_BITS = 16


def at(now_ms: int) -> int:
    """Return the clock's first reading at *now_ms*, in milliseconds since 1970."""
    return now_ms << COUNTER_BITS


def milliseconds(hlc: int) -> int:
    return hlc >> COUNTER_BITS


def clamp(hlc: int, now_ms: int, ahead_max: timedelta) -> int:
    """
    Return what a device's reading counts as.

    A clock in the future gains nothing beyond *ahead_max*; one in the past is believed, since
    the write may have waited on the device. 0 means the time of arrival.
    """
    if hlc == 0:
        return at(now_ms)
    return min(hlc, at(now_ms + int(ahead_max.total_seconds() * 1000)))
