"""
Functions beyond Prometheus's that know seasons: `forecast` and the bounds of what is usual.

Each window is brought to a regular grid of at most 672 points (four weeks of hours), the mean of
each interval; what follows is `telemetry.trends`. A window takes milliseconds, not microseconds:
windows are bounded, and rules that need them belong into groups of a minute or longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import windows
from telemetry.promql.errors import query_failed, query_too_large
from telemetry.trends.bands import bands
from telemetry.trends.forecast import Refused
from telemetry.trends.forecast import forecast as forecast_of
from telemetry.trends.grid import averaged, step_for
from telemetry.trends.seasons import find_seasons


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.kernels import Floats, Ints
    from telemetry.promql.nodes import Call
    from telemetry.promql.values import Value

POINTS_MAX = 672
"""Points that a window is brought to."""

WINDOWS_MAX = 2_000
"""Windows of all series and steps of one call."""

AHEAD_MAX = 4
"""How far ahead, in lengths of the window."""

DEVIATIONS = 4.0
"""Robust standard deviations beyond which a value is odd, unless another number is given."""


def forecast(ev: Evaluator, call: Call) -> Value:
    """`forecast(v range-vector, t scalar[, q scalar])`: the value in *t* seconds."""
    ahead = ev.scalar(call.args[1]).values
    level = ev.scalar(call.args[2]).values if len(call.args) > 2 else None
    if level is not None and not ((level > 0) & (level < 1)).all():
        raise query_failed("forecast: the quantile must lie between 0 and 1")

    def one(y: Floats, step_ms: int, column: int) -> float:
        points = _points_ahead(ahead[column], step_ms, y.size)
        made = forecast_of(y, points)
        if isinstance(made, Refused):
            return np.nan
        line = made.point if level is None else made.quantile(float(level[column]))
        return float(line[-1])

    return _each_window(ev, call, one)


def anomaly_lower(ev: Evaluator, call: Call) -> Value:
    """`anomaly_lower(v range-vector[, k scalar])`: below it, the newest value is odd."""
    return _bound(ev, call, upper=False)


def anomaly_upper(ev: Evaluator, call: Call) -> Value:
    """`anomaly_upper(v range-vector[, k scalar])`: above it, the newest value is odd."""
    return _bound(ev, call, upper=True)


def _bound(ev: Evaluator, call: Call, *, upper: bool) -> Value:
    given = ev.scalar(call.args[1]).values if len(call.args) > 1 else None

    def one(y: Floats, _step_ms: int, column: int) -> float:
        deviations = DEVIATIONS if given is None else float(given[column])
        found = bands(y, find_seasons(y[:-1]), deviations)
        return float(found.upper[-1] if upper else found.lower[-1])

    return _each_window(ev, call, one)


def _each_window(ev: Evaluator, call: Call, one: Callable[[Floats, int, int], float]) -> Value:
    """Return what *one* makes of each window: its points, their step, and which step it is."""
    of = windows.floats_of(ev, ev.windows(call.args[0]), call.args[0].at)
    lo, hi = windows.bounds(ev, of)
    if lo.size > WINDOWS_MAX:
        raise query_too_large(
            f"{call.name} would go through too many windows; ask for fewer series or a longer "
            "step, or record it by a rule.",
            windows_max=str(WINDOWS_MAX),
        )
    values = np.full(lo.shape, np.nan)
    for row, column in zip(*np.nonzero(hi > lo), strict=True):
        ev.query.budget.spend(POINTS_MAX)
        within = slice(lo[row, column], hi[row, column])
        ts, end_ms = of.ts[within], int(of.ends[column])
        step_ms = _step_of(ts, of.range_ms)
        points = max(1, of.range_ms // step_ms)
        y = averaged(ts, of.values[within], end_ms, step_ms, points)
        values[row, column] = one(y, step_ms, int(column))
    return windows.result(of, values, ~np.isnan(values))


def _step_of(ts: Ints, range_ms: int) -> int:
    """Return the step of the grid: no finer than the samples, and at most 672 of them."""
    spacing = int(np.median(np.diff(ts))) if ts.size > 1 else range_ms
    return max(step_for(range_ms, POINTS_MAX), step_for(spacing, 1))


def _points_ahead(seconds: float, step_ms: int, points: int) -> int:
    ahead = seconds * 1000 / step_ms
    if not 0 < ahead <= AHEAD_MAX * points:
        raise query_failed(
            f"forecast: the time ahead must be more than 0 s and at most {AHEAD_MAX} windows"
        )
    return max(1, int(np.ceil(ahead)))
