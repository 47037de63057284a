"""Times and lengths of time, as verbs take and show them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import click
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from meshctl import exits
from meshctl.faults import MeshctlError
from meshctl.objects.durations import duration_of


Verb = TypeVar("Verb", bound=Callable[..., Any])
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


class OfTime(Protocol):
    """A request about a window of time."""

    @property
    def start_time(self) -> Timestamp: ...
    @property
    def end_time(self) -> Timestamp: ...


def of_time(verb: Verb) -> Verb:
    """Give *verb* the options `--since` and `--until`."""
    for option in (
        click.option(
            "--until", metavar="TIME", help="Until then, such as 2026-01-31T06:00Z.  [default: now]"
        ),
        click.option(
            "--since",
            metavar="DURATION|TIME",
            default="1h",
            show_default=True,
            help="From how long before its end, or from when.",
        ),
    ):
        verb = option(verb)
    return verb


def set_window(request: OfTime, since: str, until: str | None) -> None:
    """Have *request* ask about the window that was said."""
    end = _moment(until) if until else datetime.now(UTC)
    back = duration_of(since)
    start = _moment(since) if back is None else end - back.ToTimedelta()
    request.start_time.FromDatetime(start)
    request.end_time.FromDatetime(end)


def clock(at: Timestamp) -> str:
    """Return *at* to the millisecond."""
    return f"{at.ToDatetime():%Y-%m-%d %H:%M:%S.%f}"[:-3]


def length(of: Duration) -> str:
    """Return a length of time in the unit that suits it."""
    nanoseconds = of.ToNanoseconds()
    for size, unit in _UNITS:
        if abs(nanoseconds) >= size:
            found = nanoseconds / size
            return f"{found:.0f}{unit}" if abs(found) >= 100 else f"{found:.3g}{unit}"
    return f"{nanoseconds}ns"


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise MeshctlError(
            f"{text} is neither a time nor a length of time.", "15m", exit_code=exits.USAGE
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
