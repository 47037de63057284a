"""One row for each function that the evaluator knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql.folds import Fold
from telemetry.promql.functions import (
    dates,
    elementwise,
    histograms,
    info,
    labelling,
    over_time,
    presence,
    times,
)


if TYPE_CHECKING:
    from telemetry.promql import nodes
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.values import Value


@dataclass(frozen=True, slots=True)
class Function:
    """How one function is evaluated; its arguments' types the parser has checked."""

    apply: Callable[[Evaluator, tuple[nodes.Node, ...]], Value]


FUNCTIONS: Mapping[str, Function] = {
    # Each value by itself
    "abs": Function(elementwise.each(np.abs)),
    "acos": Function(elementwise.each(np.arccos)),
    "acosh": Function(elementwise.each(np.arccosh)),
    "asin": Function(elementwise.each(np.arcsin)),
    "asinh": Function(elementwise.each(np.arcsinh)),
    "atan": Function(elementwise.each(np.arctan)),
    "atanh": Function(elementwise.each(np.arctanh)),
    "ceil": Function(elementwise.each(np.ceil)),
    "clamp": Function(elementwise.clamp),
    "clamp_max": Function(elementwise.clamp_max),
    "clamp_min": Function(elementwise.clamp_min),
    "cos": Function(elementwise.each(np.cos)),
    "cosh": Function(elementwise.each(np.cosh)),
    "deg": Function(elementwise.each(elementwise.degrees)),
    "exp": Function(elementwise.each(np.exp)),
    "floor": Function(elementwise.each(np.floor)),
    "ln": Function(elementwise.each(np.log)),
    "log10": Function(elementwise.each(np.log10)),
    "log2": Function(elementwise.each(np.log2)),
    "max_of": Function(elementwise.max_of),
    "min_of": Function(elementwise.min_of),
    "rad": Function(elementwise.each(elementwise.radians)),
    "round": Function(elementwise.round_to),
    "sgn": Function(elementwise.each(np.sign)),
    "sin": Function(elementwise.each(np.sin)),
    "sinh": Function(elementwise.each(np.sinh)),
    "sqrt": Function(elementwise.each(np.sqrt)),
    "tan": Function(elementwise.each(np.tan)),
    "tanh": Function(elementwise.each(np.tanh)),
    # Dates
    "day_of_month": Function(dates.part(dates.day_of_month)),
    "day_of_week": Function(dates.part(dates.day_of_week)),
    "day_of_year": Function(dates.part(dates.day_of_year)),
    "days_in_month": Function(dates.part(dates.days_in_month)),
    "hour": Function(dates.part(dates.hour)),
    "minute": Function(dates.part(dates.minute)),
    "month": Function(dates.part(dates.month)),
    "year": Function(dates.part(dates.year)),
    # The query's times, and numbers from nowhere
    "end": Function(times.end),
    "pi": Function(times.pi),
    "range": Function(times.range_),
    "scalar": Function(times.scalar),
    "start": Function(times.start),
    "step": Function(times.step),
    "time": Function(times.time),
    "timestamp": Function(times.timestamp),
    "vector": Function(times.vector_of),
    # Windows
    "avg_over_time": Function(over_time.folded(Fold.AVG)),
    "changes": Function(over_time.folded(Fold.CHANGES)),
    "count_over_time": Function(over_time.folded(Fold.COUNT)),
    "delta": Function(over_time.delta),
    "deriv": Function(over_time.deriv),
    "double_exponential_smoothing": Function(over_time.double_exponential_smoothing),
    "first_over_time": Function(over_time.folded(Fold.FIRST, keeps_name=True)),
    "idelta": Function(over_time.idelta),
    "increase": Function(over_time.increase),
    "irate": Function(over_time.irate),
    "last_over_time": Function(over_time.folded(Fold.LAST, keeps_name=True)),
    "mad_over_time": Function(over_time.mad_over_time),
    "max_over_time": Function(over_time.folded(Fold.MAX)),
    "min_over_time": Function(over_time.folded(Fold.MIN)),
    "predict_linear": Function(over_time.predict_linear),
    "present_over_time": Function(over_time.present_over_time),
    "quantile_over_time": Function(over_time.quantile_over_time),
    "rate": Function(over_time.rate),
    "resets": Function(over_time.folded(Fold.RESETS)),
    "stddev_over_time": Function(over_time.stddev_over_time),
    "stdvar_over_time": Function(over_time.folded(Fold.STDVAR)),
    "sum_over_time": Function(over_time.folded(Fold.SUM)),
    "ts_of_first_over_time": Function(over_time.folded(Fold.TS_OF_FIRST)),
    "ts_of_last_over_time": Function(over_time.folded(Fold.TS_OF_LAST)),
    "ts_of_max_over_time": Function(over_time.folded(Fold.TS_OF_MAX)),
    "ts_of_min_over_time": Function(over_time.folded(Fold.TS_OF_MIN)),
    # What isn't there
    "absent": Function(presence.absent),
    "absent_over_time": Function(presence.absent_over_time),
    # Labels and order
    "info": Function(info.info),
    "label_join": Function(labelling.label_join),
    "label_replace": Function(labelling.label_replace),
    "sort": Function(labelling.sort),
    "sort_by_label": Function(labelling.sort_by_label),
    "sort_by_label_desc": Function(labelling.sort_by_label_desc),
    "sort_desc": Function(labelling.sort_desc),
    # Histograms
    "histogram_fraction": Function(histograms.histogram_fraction),
    "histogram_quantile": Function(histograms.histogram_quantile),
    "histogram_quantiles": Function(histograms.histogram_quantiles),
}
