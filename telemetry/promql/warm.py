"""Compiles the kernels before the first query needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.promql import rolls
from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from telemetry.promql.source import Columns, Rows
from telemetry.promql.values import stale


if TYPE_CHECKING:
    from collections.abc import Iterator

    from telemetry.promql.source import Span


_QUERIES = (
    "sum by (job) (rate(x_total[5m]))",
    "avg_over_time(x_total[5m]) / 2",
    "histogram_quantile(0.9, x_total)",
    "irate(x_total[5m])",
)
"""What dashboards ask most; other kernels are compiled when they are first asked for."""


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
    engine = Engine(source=_OneSeries())
    for query in _QUERIES:
        engine.range(query, 0, 2_000, 1_000)


def warm_rolled() -> None:
    """Run a few over roll-ups, which only long ranges need."""
    rolled = Engine(source=_Rolled())
    for query in _QUERIES[:2]:
        rolled.range(query, 0, 2_000, 1_000)
