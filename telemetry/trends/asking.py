"""Forecasts of what PromQL finds: asks, puts on a grid, and goes on, in bounded threads."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from meshkit.errors import Overloaded
from telemetry.promql.errors import query_too_large
from telemetry.trends.bands import bands
from telemetry.trends.forecast import forecast
from telemetry.trends.grid import on_grid, trimmed
from telemetry.trends.seasons import find_seasons


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from telemetry.promql.engine import Answer
    from telemetry.promql.labels import Labels
    from telemetry.query.queries import Queries
    from telemetry.trends.bands import Bands
    from telemetry.trends.forecast import Forecast, Refused
    from telemetry.trends.grid import Floats

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendsLimits:
    """Bounds of all forecasts together, and of each."""

    series_max: int = 100
    """Series of one question."""

    threads: int = 1
    """Questions computed at once; a forecast is some ten milliseconds a series."""

    waiting_max: int = 32
    """Questions that wait for their turn; more are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of the past: regular points, the last at its end."""

    end_ms: int
    step_ms: int
    points: int

    @property
    def start_ms(self) -> int:
        """Time of the first point."""
        return self.end_ms - (self.points - 1) * self.step_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One series on the grid of a span."""

    labels: Labels
    values: Floats
    """NaN where nothing is known."""


class Trends:
    """
    Answers about what will be. Made within a running event loop; `close` ends its threads.

    All raise what `Queries` raises, and `Overloaded` FORECAST_QUEUE_FULL.
    """

    def __init__(self, queries: Queries, limits: TrendsLimits | None = None) -> None:
        self._queries = queries
        self.limits = limits or TrendsLimits()
        self._threads = ThreadPoolExecutor(self.limits.threads, "trends")
        self._under_way = 0

    def close(self) -> None:
        """Let go of the threads; what waits is forgotten."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def past(
        self,
        query: str,
        span: Span,
        *,
        tenant: str,
        timeout: timedelta | None = None,  # noqa: ASYNC109
    ) -> tuple[list[Past], Answer]:
        """Return the series that *query* finds, on the grid of *span*."""
        answer = await self._queries.range(
            query, (span.start_ms, span.end_ms, span.step_ms), tenant=tenant, timeout=timeout
        )
        if len(answer.series) > self.limits.series_max:
            raise query_too_large(
                "The query finds too many series to forecast; aggregate them.",
                series_max=str(self.limits.series_max),
            )
        found = [
            Past(
                labels=one.labels,
                values=on_grid(one.ts, one.values, span.start_ms, span.step_ms, span.points),
            )
            for one in answer.series
        ]
        return found, answer

    async def forecasts(
        self, past: Sequence[Past], horizon: int, seasons: tuple[int, ...] | None
    ) -> list[Forecast | Refused]:
        """Go on from each series by *horizon* points."""
        return await self.run(lambda: [forecast(one.values, horizon, seasons) for one in past])

    async def bands(
        self, past: Sequence[Past], seasons: tuple[int, ...] | None, deviations: float
    ) -> list[tuple[tuple[int, ...], Bands]]:
        """Return what each point was expected to be, and by which seasons."""

        def compute() -> list[tuple[tuple[int, ...], Bands]]:
            used = [
                find_seasons(trimmed(one.values)[0]) if seasons is None else seasons for one in past
            ]
            return [
                (known, bands(one.values, known, deviations))
                for known, one in zip(used, past, strict=True)
            ]

        return await self.run(compute)

    async def run(self, compute: Callable[[], _T]) -> _T:
        """Run *compute*, which needs no I/O, in its turn."""
        if self._under_way >= self.limits.threads + self.limits.waiting_max:
            raise Overloaded(
                "FORECAST_QUEUE_FULL",
                "Too many forecasts wait already.",
                waiting_max=str(self.limits.waiting_max),
            )
        self._under_way += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, compute)
        finally:
            self._under_way -= 1


def together(past: Sequence[Past], points: int) -> Floats:
    """Return the series as one array `[series, points]`."""
    return np.array([one.values for one in past]).reshape(len(past), points)
