"""Durations as people write them."""

from __future__ import annotations

import re

from google.protobuf.duration_pb2 import Duration


UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
SECONDS_MAX = 315_576_000_000

_PART = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?(ms|s|m|h)")


def duration_of(text: str) -> Duration | None:
    """`5s`, `300ms`, `1.5h` or `1m30s` as a duration; None if *text* is none."""
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text)
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            return None
        whole, fraction, unit = part.groups()
        total += int(whole) * UNITS_NS[unit]
        if fraction:
            total += int(fraction) * UNITS_NS[unit] // 10 ** len(fraction)
        at = part.end()
    if not rest or total // 10**9 > SECONDS_MAX:
        return None
    return Duration(seconds=sign * (total // 10**9), nanos=sign * (total % 10**9))


def duration_text(value: Duration) -> str:
    """*value* as `duration_of` reads it, in the largest unit that makes it whole."""
    total = value.seconds * 10**9 + value.nanos
    sign, total = ("-", -total) if total < 0 else ("", total)
    for unit in ("h", "m", "s", "ms"):
        if total % UNITS_NS[unit] == 0 and (total or unit == "s"):
            return f"{sign}{total // UNITS_NS[unit]}{unit}"
    whole, rest = divmod(total, 10**9)
    return f"{sign}{whole}.{rest:09d}".rstrip("0") + "s"
