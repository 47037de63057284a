"""The evaluator's cost is that of its arrays, not of Python per sample."""

import sys

import numpy as np

from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from telemetry.promql.source import Columns


class Fixed:
    def __init__(self, series, samples):
        self.columns = Columns(
            labels=[make({"__name__": "x_total", "i": str(i)}) for i in range(series)],
            ts=np.tile(np.arange(samples, dtype=np.int64) * 15_000, series),
            values=np.tile(np.arange(samples, dtype=np.float64), series),
            offsets=np.arange(series + 1, dtype=np.int64) * samples,
        )

    def select(self, selection, start_ms, end_ms, *, series_max):
        return self.columns


def calls(series, samples, query):
    engine = Engine(source=Fixed(series, samples))
    engine.range(query, 0, 15_000 * samples, 15_000)  # Compiles what isn't yet.
    count = 0

    def profile(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        engine.range(query, 0, 15_000 * samples, 15_000)
    finally:
        sys.setprofile(None)
    return count


def test_ten_times_the_samples_take_no_more_python_calls():
    for query in ("rate(x_total[5m])", "sum(avg_over_time(x_total[5m]))", "x_total * 2"):
        assert calls(5, 1_000, query) <= calls(5, 100, query) + 20
