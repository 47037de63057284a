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
    rates,
    times,
    trends,
)
from telemetry.promql.nodes import Kind


if TYPE_CHECKING:
    from telemetry.promql import nodes
    from telemetry.promql.evaluate import Evaluator
    from telemetry.promql.values import Value


_KINDS = {"v": Kind.VECTOR, "m": Kind.MATRIX, "s": Kind.SCALAR, "t": Kind.STRING}


@dataclass(frozen=True, slots=True)
class Function:
    """How one function is evaluated, and what it takes; the parser checks arguments by it."""

    apply: Callable[[Evaluator, nodes.Call], Value]
    arguments: str = "v"
    """A letter for each argument: Vector, Matrix (a range vector), Scalar, Text."""

    variadic: int = 0
    """How many more there may be than all but the last of these; -1: any number."""

    returns: Kind = Kind.VECTOR

    @property
    def takes(self) -> tuple[Kind, ...]:
        """The type of each argument; the last is that of all that follow."""
        return tuple(_KINDS[letter] for letter in self.arguments)


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
    "clamp": Function(elementwise.clamp, "vss"),
    "clamp_max": Function(elementwise.clamp_max, "vs"),
    "clamp_min": Function(elementwise.clamp_min, "vs"),
    "cos": Function(elementwise.each(np.cos)),
    "cosh": Function(elementwise.each(np.cosh)),
    "deg": Function(elementwise.each(elementwise.degrees)),
    "exp": Function(elementwise.each(np.exp)),
    "floor": Function(elementwise.each(np.floor)),
    "ln": Function(elementwise.each(np.log)),
    "log10": Function(elementwise.each(np.log10)),
    "log2": Function(elementwise.each(np.log2)),
    "max_of": Function(elementwise.max_of, "ss", returns=Kind.SCALAR),
    "min_of": Function(elementwise.min_of, "ss", returns=Kind.SCALAR),
    "rad": Function(elementwise.each(elementwise.radians)),
    "round": Function(elementwise.round_to, "vs", 1),
    "sgn": Function(elementwise.each(np.sign)),
    "sin": Function(elementwise.each(np.sin)),
    "sinh": Function(elementwise.each(np.sinh)),
    "sqrt": Function(elementwise.each(np.sqrt)),
    "tan": Function(elementwise.each(np.tan)),
    "tanh": Function(elementwise.each(np.tanh)),
    # Dates
    "day_of_month": Function(dates.part(dates.day_of_month), "v", 1),
    "day_of_week": Function(dates.part(dates.day_of_week), "v", 1),
    "day_of_year": Function(dates.part(dates.day_of_year), "v", 1),
    "days_in_month": Function(dates.part(dates.days_in_month), "v", 1),
    "hour": Function(dates.part(dates.hour), "v", 1),
    "minute": Function(dates.part(dates.minute), "v", 1),
    "month": Function(dates.part(dates.month), "v", 1),
    "year": Function(dates.part(dates.year), "v", 1),
    # The query's times, and numbers from nowhere
    "end": Function(times.end, "", returns=Kind.SCALAR),
    "pi": Function(times.pi, "", returns=Kind.SCALAR),
    "range": Function(times.range_, "", returns=Kind.SCALAR),
    "scalar": Function(times.scalar, "v", returns=Kind.SCALAR),
    "start": Function(times.start, "", returns=Kind.SCALAR),
    "start_timestamp": Function(times.start_timestamp),
    "step": Function(times.step, "", returns=Kind.SCALAR),
    "time": Function(times.time, "", returns=Kind.SCALAR),
    "timestamp": Function(times.timestamp),
    "vector": Function(times.vector_of, "s"),
    # Windows
    "avg_over_time": Function(over_time.summed(Fold.AVG), "m"),
    "changes": Function(rates.changes, "m"),
    "count_over_time": Function(over_time.counted(Fold.COUNT), "m"),
    "delta": Function(rates.delta, "m"),
    "deriv": Function(over_time.deriv, "m"),
    "double_exponential_smoothing": Function(over_time.double_exponential_smoothing, "mss"),
    "first_over_time": Function(over_time.picked(Fold.FIRST), "m"),
    "idelta": Function(rates.idelta, "m"),
    "increase": Function(rates.increase, "m"),
    "irate": Function(rates.irate, "m"),
    "last_over_time": Function(over_time.picked(Fold.LAST), "m"),
    "mad_over_time": Function(over_time.mad_over_time, "m"),
    "max_over_time": Function(over_time.folded(Fold.MAX), "m"),
    "min_over_time": Function(over_time.folded(Fold.MIN), "m"),
    "predict_linear": Function(over_time.predict_linear, "ms"),
    "present_over_time": Function(over_time.present_over_time, "m"),
    "quantile_over_time": Function(over_time.quantile_over_time, "sm"),
    "rate": Function(rates.rate, "m"),
    "resets": Function(rates.resets, "m"),
    "stddev_over_time": Function(over_time.stddev_over_time, "m"),
    "stdvar_over_time": Function(over_time.folded(Fold.STDVAR), "m"),
    "sum_over_time": Function(over_time.summed(Fold.SUM), "m"),
    "ts_of_first_over_time": Function(over_time.counted(Fold.TS_OF_FIRST), "m"),
    "ts_of_last_over_time": Function(over_time.counted(Fold.TS_OF_LAST), "m"),
    "ts_of_max_over_time": Function(over_time.folded(Fold.TS_OF_MAX), "m"),
    "ts_of_min_over_time": Function(over_time.folded(Fold.TS_OF_MIN), "m"),
    # Trends: ours, beyond Prometheus's
    "anomaly_lower": Function(trends.anomaly_lower, "ms", 1),
    "anomaly_upper": Function(trends.anomaly_upper, "ms", 1),
    "forecast": Function(trends.forecast, "mss", 1),
    # What isn't there
    "absent": Function(presence.absent),
    "absent_over_time": Function(presence.absent_over_time, "m"),
    # Labels and order
    "info": Function(info.info, "vv", 1),
    "label_join": Function(labelling.label_join, "vttt", -1),
    "label_replace": Function(labelling.label_replace, "vtttt"),
    "sort": Function(labelling.sort),
    "sort_by_label": Function(labelling.sort_by_label, "vt", -1),
    "sort_by_label_desc": Function(labelling.sort_by_label_desc, "vt", -1),
    "sort_desc": Function(labelling.sort_desc),
    # Histograms
    "histogram_avg": Function(histograms.histogram_avg),
    "histogram_count": Function(histograms.histogram_count),
    "histogram_fraction": Function(histograms.histogram_fraction, "ssv"),
    "histogram_quantile": Function(histograms.histogram_quantile, "sv"),
    "histogram_quantiles": Function(histograms.histogram_quantiles, "vtss", 9),
    "histogram_stddev": Function(histograms.histogram_stddev),
    "histogram_stdvar": Function(histograms.histogram_stdvar),
    "histogram_sum": Function(histograms.histogram_sum),
}
