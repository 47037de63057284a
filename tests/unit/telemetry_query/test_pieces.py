"""Some series at a time, or all at once: the answer is the same."""

import functools

import numpy as np
import pytest

from telemetry.promql import parts
from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from telemetry.promql.source import Columns, SamplesNeeded
from tests.scenarios.telemetry_query.memory import STALE_NAN, MemorySource


SERIES, STEPS = 90, 10_000
SIZE = parts.CELLS_ALONE // (STEPS + 1)


class Piecewise(MemorySource):
    """Samples in memory, read some series at a time."""

    def __init__(self, *, fails=False):
        super().__init__()
        self.read = []
        self.fails = fails

    def pieces(self, selection, start_ms, end_ms, size, series_max):
        found = self.select(selection, start_ms, end_ms, series_max=series_max)

        def read(first):
            if self.fails and first:
                raise SamplesNeeded
            labels = found.labels[first : first + size]
            self.read.append(len(labels))
            offsets = found.offsets[first : first + len(labels) + 1]
            part = slice(offsets[0], offsets[-1])
            return Columns(
                labels=labels,
                ts=found.ts[part],
                values=found.values[part],
                offsets=offsets - offsets[0],
            )

        return [functools.partial(read, first) for first in range(0, len(found.labels), size)]


def filled(**options):
    source = Piecewise(**options)
    chance = np.random.default_rng(3)
    for number in range(SERIES):
        labels = make({"__name__": "load", "i": f"{number:03}", "g": str(number % 3)})
        # Every tenth series has nothing in the time that is asked for.
        start = -10_000_000 if number % 10 == 0 else 0
        for at in np.sort(chance.choice(STEPS, 40, replace=False)).tolist():
            value = STALE_NAN if chance.random() < 0.05 else np.float64(chance.random())
            source.add(labels, start + at * 1_000, value)
    return source


def plain(source):
    found = MemorySource()
    found._series = source._series
    return found


def same(found, wanted):
    assert [one.labels for one in found.series] == [one.labels for one in wanted.series]
    for a, b in zip(found.series, wanted.series, strict=True):
        assert a.ts.tolist() == b.ts.tolist()
        assert np.array_equal(a.values, b.values, equal_nan=True)
    assert (found.infos, found.warnings) == (wanted.infos, wanted.warnings)


@pytest.mark.parametrize(
    "query",
    [
        "rate(load[5m])",
        "sum by (g) (rate(load[5m]))",
        "avg(increase(load[5m] smoothed))",
        "quantile_over_time(0.5, load[5m])",
        "last_over_time(load[5m])",
        "predict_linear(load[5m], 60)",
        "sum(load) / count(count_over_time(load[1m]))",
    ],
)
def test_many_series_are_read_in_pieces_and_the_answer_is_the_same(query):
    source = filled()
    grid = (0, STEPS * 1_000, 1_000)

    found = Engine(source=source).range(query, *grid)

    same(found, Engine(source=plain(source)).range(query, *grid))
    assert len(source.read) > 1
    assert max(source.read) <= SIZE


def test_what_looks_at_all_series_is_read_at_once():
    source = filled()
    grid = (0, STEPS * 1_000, 1_000)
    for query in ("absent_over_time(load[1m])", "quantile_over_time(scalar(load), load[1m])"):
        found = Engine(source=source).range(query, *grid)
        same(found, Engine(source=plain(source)).range(query, *grid))

    assert source.read == []


def test_a_piece_that_is_gone_has_all_read_at_once():
    source = filled(fails=True)
    grid = (0, STEPS * 1_000, 1_000)

    found = Engine(source=source).range("rate(load[5m])", *grid)

    same(found, Engine(source=plain(source)).range("rate(load[5m])", *grid))


def test_each_keeps_the_order_and_ends_with_the_error_of_any():
    assert parts.each(lambda n: n * n, range(1_000)) == [n * n for n in range(1_000)]
    assert parts.each(abs, []) == []

    def fails(number):
        if number == 7:
            raise ValueError("seven")
        return number

    with pytest.raises(ValueError, match="seven"):
        parts.each(fails, range(100))
