"""Compiles the kernels before the first query needs them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import rolls
from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from telemetry.promql.limits import QueryLimits
from telemetry.promql.native.columns import CUSTOM, Hint, Histograms
from telemetry.promql.source import Columns, Rows
from telemetry.promql.values import stale


if TYPE_CHECKING:
    from collections.abc import Iterator

    from telemetry.promql.source import Span


_LIMITS = QueryLimits(timeout=timedelta(hours=1))
"""What a query compiles counts as its time, and takes long on a busy machine."""

_QUERIES = (
    "sum by (job) (rate(x_total[5m]))",
    "avg_over_time(x_total[5m]) / 2",
    "histogram_quantile(0.9, x_total)",
    "irate(x_total[5m])",
)
"""What dashboards ask most: nothing is served before their kernels are there."""

_RARE = (
    *(
        "quantile(0.5, x_total)",
        "quantile_over_time(0.5, x_total[5m])",
        "mad_over_time(x_total[5m])",
    ),
    *("deriv(x_total[5m])", "resets(x_total[5m])", "changes(x_total[5m])", "idelta(x_total[5m])"),
    *("rate(x_total[5m] anchored)", "rate(x_total[5m] smoothed)", "x_total smoothed"),
    *("histogram_fraction(0, 1, x_total)", "double_exponential_smoothing(x_total[5m], 0.5, 0.5)"),
)
_NATIVE = (
    *(
        "sum(x)",
        "avg(x)",
        "sum by (le) (x)",
        "count(x)",
        "x + x",
        "x - x",
        "x * 2",
        "x / 2",
        "x == x",
    ),
    *("sum_over_time(x[5m])", "avg_over_time(x[5m])", "last_over_time(x[5m])", "rate(x[5m])"),
    *("increase(x[5m])", "delta(x[5m])", "irate(x[5m])", "idelta(x[5m])", "resets(x[5m])"),
    *("changes(x[5m])", "x </ 2", "x >/ 2", "histogram_quantile(0.9, x)", "histogram_avg(x)"),
    *("histogram_fraction(0, 1, x)", "histogram_stddev(x)", "histogram_stdvar(x)"),
    *("rate(x[5m] anchored)", "rate(x[5m] smoothed)", "x smoothed"),
)
"""Of native histograms, exponential and with buckets of their own."""


class _OneSeries:
    """Two samples, whatever is asked for."""

    def select(
        self, _selection: object, _start_ms: int, _end_ms: int, *, series_max: int
    ) -> Columns:
        del series_max
        return Columns(
            labels=[make({"__name__": "x_total", "le": "+Inf"})],
            ts=np.array([0, 1_000], np.int64),
            values=np.array([1.0, 2.0]),
            offsets=np.array([0, 2], np.int64),
        )


class _Histograms:
    """Three histograms of either kind, whatever is asked for."""

    def select(
        self, _selection: object, _start_ms: int, _end_ms: int, *, series_max: int
    ) -> Columns:
        del series_max
        return Columns(
            labels=[make({"__name__": "x", "le": one}) for one in ("a", "b")],
            ts=np.tile(np.array([0, 1_000, 2_000], np.int64), 2),
            values=np.zeros(6),
            offsets=np.array([0, 3, 6], np.int64),
            histograms=_histograms(),
            histogram=np.arange(6),
        )


def _histograms() -> Histograms:
    exponential = np.arange(6) < 3
    bounds = np.cumsum([0, *np.where(exponential, 0, 1)])
    buckets = np.arange(7)
    ones = np.ones(6)
    return Histograms(
        schema=np.where(exponential, 0, CUSTOM).astype(np.int64),
        hint=np.full(6, int(Hint.UNKNOWN), np.int64),
        zero_threshold=np.zeros(6),
        zero_count=np.zeros(6),
        counts=np.where(exponential, 2.0, 1.0),
        sums=ones,
        pos_offsets=buckets,
        pos_index=np.zeros(6, np.int32),
        pos=ones,
        neg_offsets=np.cumsum([0, *exponential]),
        neg_index=np.zeros(3, np.int32),
        neg=np.ones(3),
        bounds_offsets=bounds,
        bounds=np.ones(3),
    )


class _Rolled(_OneSeries):
    """The same, rolled up."""

    widths_ms = (1_000,)

    def rolled(self, span: Span) -> Iterator[Rows]:
        of = self.select(None, 0, 0, series_max=1)
        begins, whole, real = rolls.roll(of.ts, of.values, stale(of.values), of.offsets, 1_000)
        columns = dict(zip((*rolls.WHOLE, *rolls.REAL), (*whole, *real), strict=True))
        yield Rows(
            labels=of.labels,
            offsets=begins,
            end_ms=columns["end_ms"],
            columns={name: columns[name] for name in span.columns},
        )


def warm() -> None:
    """Run a few queries over next to nothing. Some seconds the first time on a machine."""
    engine = Engine(source=_OneSeries(), limits=_LIMITS)
    for query in _QUERIES:
        engine.range(query, 0, 2_000, 1_000)


def warm_rest() -> None:
    """Run all the others, which are asked now and then."""
    for source, queries in ((_OneSeries(), _RARE), (_Histograms(), _NATIVE)):
        engine = Engine(source=source, limits=_LIMITS)
        for query in queries:
            engine.range(query, 0, 2_000, 1_000)
    rolled = Engine(source=_Rolled(), limits=_LIMITS)
    for query in _QUERIES[:2]:
        rolled.range(query, 0, 2_000, 1_000)
