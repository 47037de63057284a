"""How much is asked of a service now, and how much at most until new replicas would be there."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from telemetry.trends.asking import Span, together
from telemetry.trends.forecast import Refused, forecast
from telemetry.trends.grid import step_for


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.query.queries import Queries
    from telemetry.scaler.trigger import Trigger
    from telemetry.trends.asking import Trends

POINTS_MAX = 2_016
"""Points learnt from: a week of five minutes."""

KEPT_MAX = 1_024
"""Forecasts kept until their step is over."""

_STEP_MS_MIN = 60_000


class Demand:
    """Answers for triggers. A forecast is made once a step; what is there now each time."""

    def __init__(
        self, queries: Queries, trends: Trends, *, clock: Callable[[], int] = time.time_ns
    ) -> None:
        """*clock* gives Unix nanoseconds."""
        self._queries = queries
        self._trends = trends
        self._clock = clock
        self._kept: OrderedDict[tuple[Trigger, int], float] = OrderedDict()

    async def of(self, trigger: Trigger) -> float:
        """
        Return the larger of what is there now and what comes within `ahead`; 0 if nothing is.

        What can't be forecast, for want of a past, counts by what is there.
        """
        now = await self.now(trigger)
        ahead = await self._ahead(trigger)
        return max(now, ahead if math.isfinite(ahead) else 0.0)

    async def now(self, trigger: Trigger) -> float:
        """Return what is there now, all series together; 0 where there is none."""
        at_ms = self._clock() // 1_000_000
        answer = await self._queries.instant(trigger.query, at_ms, tenant=trigger.tenant)
        values = [float(one.values[-1]) for one in answer.series if one.values.size]
        return math.fsum(value for value in values if math.isfinite(value))

    async def _ahead(self, trigger: Trigger) -> float:
        step_ms = max(_STEP_MS_MIN, step_for(trigger.history_ms, POINTS_MAX))
        end_ms = self._clock() // 1_000_000 // step_ms * step_ms
        key = (trigger, end_ms)
        if key not in self._kept:
            span = Span(end_ms=end_ms, step_ms=step_ms, points=trigger.history_ms // step_ms)
            self._kept[key] = await self._forecast(trigger, span)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return self._kept[key]

    async def _forecast(self, trigger: Trigger, span: Span) -> float:
        past, _ = await self._trends.past(trigger.query, span, tenant=trigger.tenant)
        horizon = -(-trigger.ahead_ms // span.step_ms)
        seasons = trigger.seasons_ms and tuple(
            season // span.step_ms for season in trigger.seasons_ms
        )

        def compute() -> float:
            table = together(past, span.points)
            known = ~np.isnan(table).all(axis=0)
            whole = np.where(known, np.nansum(table, axis=0), np.nan)
            made = forecast(whole, horizon, seasons)
            if isinstance(made, Refused):
                return math.nan
            return float(made.quantile(trigger.quantile).max())

        return await self._trends.run(compute) if past else math.nan
