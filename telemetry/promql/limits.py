"""How much one query may touch, and the account of what it has touched so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from telemetry.promql.errors import query_timed_out, query_too_large


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """Bounds of one query."""

    steps_max: int = 11_000
    """Points per series of a range query; Prometheus's own bound."""

    series_max: int = 100_000
    """Series one selector may find."""

    samples_max: int = 20_000_000
    """Samples read plus cells of results, all nodes together."""

    rows_max: int = 200_000_000
    """Roll-ups read, all nodes together; a few series' at a time are in memory."""

    window_samples_max: int = 2_000_000_000
    """Samples in all windows of one function, those in several windows as often: its work."""

    timeout: timedelta = timedelta(seconds=30)
    """How long a query may take."""

    text_bytes_max: int = 64 * 1024
    """Length of the query's text."""

    depth_max: int = 200
    """Brackets within one another; the parser's own stack is finite."""

    operators_max: int = 300
    """Operators in the query's text: the parser recurses over them too."""


@dataclass(slots=True, kw_only=True)
class Budget:
    """One query's account. Not shared between threads."""

    limits: QueryLimits
    clock: Callable[[], float] = time.monotonic
    stop: threading.Event | None = None
    """Set by whoever no longer wants the answer."""

    samples: int = 0
    rolled: int = 0
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = self.clock() + self.limits.timeout.total_seconds()

    def spend(self, samples: int) -> None:
        """
        Account for *samples* more, and look at the clock.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: They are more than one query may touch.
            Unavailable: QUERY_TIMED_OUT: The time is up.

        """
        self.samples += samples
        if self.samples > self.limits.samples_max:
            raise query_too_large(
                "The query would load too many samples; ask for fewer series, a shorter "
                "range or a longer step.",
                samples_max=str(self.limits.samples_max),
            )
        if self.stop is not None and self.stop.is_set():
            raise query_timed_out("Nobody waits for the answer any more.")
        if self.clock() > self.deadline:
            raise query_timed_out(
                "The query timed out; ask for less.",
                timeout_s=f"{self.limits.timeout.total_seconds():g}",
            )

    def rows(self, rows: int) -> None:
        """
        Account for so many roll-ups more.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: They are more than one query may read.

        """
        self.rolled += rows
        if self.rolled > self.limits.rows_max:
            raise query_too_large(
                "The query would read too many roll-ups; ask for fewer series or a shorter range.",
                rows_max=str(self.limits.rows_max),
            )

    def windows(self, samples: int) -> None:
        """
        Check how much work the windows of a function are.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than one function may do.

        """
        if samples > self.limits.window_samples_max:
            raise query_too_large(
                "The windows hold too many samples; make them or the range shorter, or the "
                "step longer.",
                window_samples_max=str(self.limits.window_samples_max),
            )

    def series(self, count: int) -> None:
        """
        Check how many series a selector found.

        Raises:
            InvalidInput: QUERY_TOO_LARGE: More than one selector may find.

        """
        if count > self.limits.series_max:
            raise query_too_large(
                "A selector finds too many series; add matchers.",
                series_max=str(self.limits.series_max),
            )
