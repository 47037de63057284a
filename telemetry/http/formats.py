"""Times, durations and label names as Prometheus's HTTP API writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta


MIN_TIME = "-292273086-05-16T16:47:06Z"
MAX_TIME = "292277025-08-18T07:12:54.999999999Z"
_LIMIT_MS = 1 << 53
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[-+]\d\d:\d\d)", re.ASCII
)
_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
_UNITS_MS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_ESCAPED = re.compile(r"__|_([0-9A-Fa-f]{1,6})_")


def time_ms(text: str) -> int:
    """
    Return a time in milliseconds since 1970: Unix seconds or RFC 3339.

    Raises:
        ValueError: *text* is neither.

    """
    if _NUMBER.fullmatch(text):
        ms = float(text) * 1000
        if abs(ms) < _LIMIT_MS:
            return round(ms)
    elif text in (MIN_TIME, MAX_TIME):
        return -_LIMIT_MS + 1 if text == MIN_TIME else _LIMIT_MS - 1
    elif found := _RFC3339.fullmatch(text):
        moment = datetime.fromisoformat(f"{found[1]}{found[3].replace('Z', '+00:00')}")
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (
            since // timedelta(milliseconds=1) + int((found[2] or "0").ljust(9, "0")) // 1_000_000
        )
    raise ValueError(f"cannot parse {_quoted(text)} to a valid timestamp")


def duration_ms(text: str) -> int:
    """
    Return a length in milliseconds: seconds, or units such as `1h30m`.

    Raises:
        ValueError: *text* is neither.

    """
    if _NUMBER.fullmatch(text):
        ms = float(text) * 1000
        if abs(ms) >= _LIMIT_MS:
            raise ValueError(
                f"cannot parse {_quoted(text)} to a valid duration. It overflows int64"
            )
        return round(ms)
    found = _DURATION.fullmatch(text)
    if text and found:
        parts = zip(found.groups(), _UNITS_MS, strict=True)
        ms_whole = sum(int(amount or "0") * unit for amount, unit in parts)
        if ms_whole < _LIMIT_MS:
            return ms_whole
    raise ValueError(f"cannot parse {_quoted(text)} to a valid duration")


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC to the millisecond."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def label_name(text: str) -> str:
    """Return the label that a path names; `U__` marks names with other than word characters."""
    if not text.startswith("U__"):
        return text

    def one(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else "_"

    return _ESCAPED.sub(one, text.removeprefix("U__"))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
