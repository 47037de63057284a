"""Parts of dates, in UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from telemetry.promql.binary import renamed
from telemetry.promql.values import Value, vector


if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.nodes import Call

Dates = np.ndarray[Any, np.dtype[np.datetime64]]
_FURTHEST_S = 1e14
"""Seconds from 1970 beyond which there is no date."""


def part(
    function: Callable[[Dates], Any],
) -> Callable[[Evaluator, Call], Value]:
    """Return the PromQL function that takes *function* of its argument's, or the step's, time."""

    def apply(ev: Evaluator, call: Call) -> Value:
        if not call.args:
            seconds = ev.times[np.newaxis] // 1000
            values = function(seconds.astype("datetime64[s]")).astype(np.float64)
            return vector([()], values, np.ones(values.shape, np.bool_))
        of = ev.floats(call.args[0])
        known = np.abs(of.values) < _FURTHEST_S
        seconds = np.trunc(np.where(known, of.values, 0.0)).astype(np.int64)
        values = function(seconds.astype("datetime64[s]")).astype(np.float64)
        return renamed(of, np.where(known, values, np.nan))

    return apply


def _since(dates: Dates, unit: str, start: str) -> Any:
    return (dates.astype(f"datetime64[{unit}]") - dates.astype(f"datetime64[{start}]")).astype(
        np.int64
    )


def minute(dates: Dates) -> Any:
    return _since(dates, "m", "h")


def hour(dates: Dates) -> Any:
    return _since(dates, "h", "D")


def day_of_month(dates: Dates) -> Any:
    return _since(dates, "D", "M") + 1


def day_of_year(dates: Dates) -> Any:
    return _since(dates, "D", "Y") + 1


def day_of_week(dates: Dates) -> Any:
    """Return 0 for Sunday to 6; 1970 began on a Thursday."""
    return (dates.astype("datetime64[D]").astype(np.int64) + 4) % 7


def days_in_month(dates: Dates) -> Any:
    months = dates.astype("datetime64[M]")
    following = (months + 1).astype("datetime64[D]")
    return (following - months.astype("datetime64[D]")).astype(np.int64)


def month(dates: Dates) -> Any:
    return _since(dates, "M", "Y") + 1


def year(dates: Dates) -> Any:
    return dates.astype("datetime64[Y]").astype(np.int64) + 1970
