"""Compiles the kernels before the first query needs them."""

from __future__ import annotations

import numpy as np

from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from telemetry.promql.source import Columns


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


def warm() -> None:
    """Run a few queries over next to nothing. Some seconds the first time on a machine."""
    engine = Engine(source=_OneSeries())
    for query in _QUERIES:
        engine.range(query, 0, 2_000, 1_000)
