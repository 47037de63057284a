"""Answers from roll-ups are the answers from samples."""

import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.promql import rolls
from telemetry.promql.engine import Engine
from telemetry.promql.errors import query_too_large
from telemetry.promql.labels import make
from telemetry.promql.limits import QueryLimits
from telemetry.promql.source import Rows, SamplesNeeded
from telemetry.promql.values import stale
from tests.scenarios.telemetry_query.memory import STALE_NAN, MemorySource


FINE, COARSE = 300_000, 3_600_000
START = 1_800_000_000_000
HOURS = 5


class Rolling(MemorySource):
    """Samples in memory, rolled up whenever roll-ups are asked for."""

    def __init__(self, *, fails=False):
        super().__init__()
        self.widths_ms = (COARSE, FINE)
        self.asked = []
        self.fails = fails

    def rolled(self, span):
        self.asked.append(span)
        return self._rolled(span)

    def _rolled(self, span):
        found = self.select(span.selection, span.after_ms + 1, span.until_ms, series_max=100)
        begins, whole, real = rolls.roll(
            found.ts, found.values, stale(found.values), found.offsets, span.widest_ms
        )
        columns = dict(zip(rolls.WHOLE, whole, strict=True))
        columns |= dict(zip(rolls.REAL, real, strict=True))
        ends = np.minimum(columns["end_ms"], span.until_ms)
        if self.fails:
            raise SamplesNeeded
        for i, labels in enumerate(found.labels):
            part = slice(begins[i], begins[i + 1])
            yield Rows(
                labels=[labels],
                offsets=np.array([0, begins[i + 1] - begins[i]]),
                end_ms=ends[part],
                columns={name: columns[name][part] for name in span.columns},
            )


def filled(samples, **options):
    source = Rolling(**options)
    for number, (at, value) in enumerate(samples):
        labels = make({"__name__": "x_total", "i": str(number % 2)})
        source.add(labels, START + at, np.float64(value))
    return source


def points(answer):
    return {
        (one.labels, int(ts)): float(value)
        for one in answer.series
        for ts, value in zip(one.ts, one.values, strict=True)
    }


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if math.isnan(value):
            assert math.isnan(found[key]), key
        else:
            assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-6), key


QUERIES = (
    "rate(x_total[{}])",
    "increase(x_total[{}])",
    "delta(x_total[{}])",
    "resets(x_total[{}])",
    "sum_over_time(x_total[{}])",
    "avg_over_time(x_total[{}])",
    "min_over_time(x_total[{}])",
    "max_over_time(x_total[{}])",
    "count_over_time(x_total[{}])",
    "first_over_time(x_total[{}])",
    "last_over_time(x_total[{}])",
    "present_over_time(x_total[{}])",
    "ts_of_first_over_time(x_total[{}])",
    "ts_of_last_over_time(x_total[{}])",
    "sum(rate(x_total[{}] offset 1h))",
    "max_over_time(rate(x_total[{}])[2h:1h])",
    "sum(x_total) + count(x_total offset 1h)",
)


def drawn(chance, size):
    """Samples; half of them at the edges of windows, or next to them, some that are no numbers."""
    odd = chance.choice([0, 0.1, 0.7])
    found = {}
    for _ in range(size):
        at = chance.randint(1, HOURS * COARSE)
        if chance.random() < 0.5:
            at = chance.randint(0, HOURS * 12) * FINE + chance.randint(-1, 1)
        plain = chance.choice([float(chance.randint(0, 3)), chance.uniform(0, 1e6)])
        strange = chance.choice([math.nan, math.inf, STALE_NAN])
        found[at] = strange if chance.random() < odd else plain
    return list(found.items())


# Hypothesis chooses size and seed: to choose each sample took longer than the queries.
series = st.builds(drawn, st.randoms(use_true_random=True), st.integers(0, 60))


@pytest.mark.parametrize("query", QUERIES)
@settings(max_examples=60, deadline=None)
@given(
    samples=series,
    step=st.sampled_from([FINE, 3 * FINE, COARSE, 2 * COARSE]),
    length=st.sampled_from(["5m", "20m", "1h", "3h"]),
)
def test_a_range_is_answered_as_from_samples(query, samples, step, length):
    source = filled(samples)
    grid = (START, START + HOURS * COARSE, step)

    found = Engine(source=source).range(query.format(length), *grid)

    plain = MemorySource()
    plain._series = source._series
    same(points(found), points(Engine(source=plain).range(query.format(length), *grid)))
    assert source.asked


@settings(max_examples=60, deadline=None)
@given(samples=series, at=st.integers(2 * COARSE, HOURS * COARSE))
def test_an_instant_is_answered_as_from_samples(samples, at):
    source = filled(samples)
    plain = MemorySource()
    plain._series = source._series
    for query in QUERIES:
        asked = query.format("110m")
        found = Engine(source=source).instant(asked, START + at)
        same(points(found), points(Engine(source=plain).instant(asked, START + at)))


@pytest.mark.parametrize(
    ("query", "grid"),
    [
        ("rate(x_total[7m])", (0, 4 * COARSE, FINE)),
        ("rate(x_total[5m])", (1, 4 * COARSE, FINE)),
        ("rate(x_total[5m])", (0, 4 * COARSE, FINE + 1)),
        ("rate(x_total[5m] offset 1m)", (0, 4 * COARSE, FINE)),
        ("irate(x_total[1h])", (0, 4 * COARSE, COARSE)),
        ("changes(x_total[1h])", (0, 4 * COARSE, COARSE)),
        ("deriv(x_total[1h])", (0, 4 * COARSE, COARSE)),
        ("quantile_over_time(0.5, x_total[1h])", (0, 4 * COARSE, COARSE)),
        ("rate(x_total[1h] anchored)", (0, 4 * COARSE, COARSE)),
        ("timestamp(x_total)", (0, 4 * COARSE, COARSE)),
    ],
)
def test_where_the_answer_would_differ_samples_are_read(query, grid):
    source = filled([(FINE, 1.0)])
    start, end, step = grid

    Engine(source=source).range(query, START + start, START + end, step)

    assert source.asked == []


def test_the_longest_windows_that_no_edge_cuts_are_read():
    source = filled([(FINE, 1.0)])
    for step, length in ((COARSE, "2h"), (COARSE, "5m"), (FINE, "1h")):
        Engine(source=source).range(f"rate(x_total[{length}])", START, START + 4 * COARSE, step)

    assert [one.widest_ms for one in source.asked] == [COARSE, FINE, FINE]


def test_another_lookback_than_five_minutes_wants_samples_unless_it_is_shorter():
    source = filled([(COARSE - FINE + 1, 1.0), (2 * COARSE - 30_000, 2.0)])
    grid = ("x_total", START, START + 4 * COARSE, COARSE)
    engine = Engine(source=source)

    engine.range(*grid, lookback=timedelta(minutes=6))
    assert source.asked == []
    found = engine.range(*grid, lookback=timedelta(minutes=1))
    assert source.asked
    assert [ts - START for _, ts in points(found)] == [2 * COARSE]


def test_samples_are_read_where_roll_ups_turn_out_not_to_do():
    samples = [(i * 60_000 + 1, float(i)) for i in range(200)]
    found = Engine(source=filled(samples, fails=True)).range(
        "rate(x_total[1h])", START, START + 3 * COARSE, COARSE
    )

    wanted = Engine(source=filled(samples)).range(
        "rate(x_total[1h])", START, START + 3 * COARSE, COARSE
    )
    same(points(found), points(wanted))
    assert points(wanted)


def test_a_metric_that_is_no_counter_is_told_of_as_from_samples():
    source = Rolling()
    for i in range(200):
        source.add(make({"__name__": "load"}), START + i * 60_000, np.float64(i))

    found = Engine(source=source).range("rate(load[1h])", START, START + 3 * COARSE, COARSE)

    assert source.asked
    assert len(found.infos) == 1
    assert "might not be a counter" in found.infos[0]


def test_roll_ups_are_bounded():
    source = filled([(i * COARSE + 1, 1.0) for i in range(5)])
    engine = Engine(source=source, limits=QueryLimits(rows_max=2))

    with pytest.raises(type(query_too_large("")), match="too many roll-ups"):
        engine.range("count_over_time(x_total[1h])", START, START + 4 * COARSE, COARSE)
