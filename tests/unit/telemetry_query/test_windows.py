"""Functions over windows, against references that say the same in the plainest way."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from tests.scenarios.telemetry_query.memory import STALE_NAN, MemorySource


LABELS = make({"__name__": "x_total", "i": "0"})
RANGE_MS = 60_000
finite = st.floats(-1e6, 1e6, allow_nan=False)
samples = st.lists(
    st.tuples(st.integers(1, 200_000), st.one_of(finite, st.just(math.inf), st.just(math.nan))),
    max_size=30,
    unique_by=lambda sample: sample[0],
).map(sorted)
counters = st.lists(
    st.tuples(st.integers(1, 200_000), st.floats(0, 1e6, allow_nan=False)),
    max_size=30,
    unique_by=lambda sample: sample[0],
).map(sorted)


def asked(query, series, *, start=0, end=210_000, step=7_000):
    source = MemorySource()
    for ts, value in series:
        source.add(LABELS, ts, np.float64(value))
    answer = Engine(source=source).range(query, start, end, step)
    return {
        int(ts): float(value)
        for row in answer.series
        for ts, value in zip(row.ts, row.values, strict=True)
    }


def expected(function, series, *, start=0, end=210_000, step=7_000):
    out = {}
    for at in range(start, end + 1, step):
        window = [(ts, value) for ts, value in series if at - RANGE_MS < ts <= at]
        value = function(window, at)
        if value is not None:
            out[at] = value
    return out


def same(a, b):
    assert a.keys() == b.keys()
    for at, value in b.items():
        if math.isnan(value):
            assert math.isnan(a[at])
        else:
            assert a[at] == pytest.approx(value, rel=1e-9, abs=1e-6)


def extrapolated(window, at, *, counter, rate):
    """Prometheus's rule, one window and one sample at a time."""
    if len(window) < 2:
        return None
    (first_ts, first), (last_ts, last) = window[0], window[-1]
    increase = last - first
    if counter:
        for (_, before), (_, now) in itertools.pairwise(window):
            if now < before:
                increase += before
    sampled = (last_ts - first_ts) / 1000
    average = sampled / (len(window) - 1)
    to_start = (first_ts - (at - RANGE_MS)) / 1000
    to_end = (at - last_ts) / 1000
    if to_start >= average * 1.1:
        to_start = average / 2
    if counter and increase > 0 and first >= 0:
        to_start = min(to_start, sampled * first / increase)
    if to_end >= average * 1.1:
        to_end = average / 2
    factor = (sampled + to_start + to_end) / sampled
    return increase * factor / (RANGE_MS / 1000 if rate else 1)


@settings(max_examples=60, deadline=None)
@given(counters)
def test_rate_and_increase_and_delta_follow_prometheus_rules(series):
    for name, counter, rate in (
        ("rate", True, True),
        ("increase", True, False),
        ("delta", False, False),
    ):
        same(
            asked(f"{name}(x_total[1m])", series),
            expected(
                lambda w, at, c=counter, r=rate: extrapolated(w, at, counter=c, rate=r), series
            ),
        )


def _least(window, _at):
    values = [value for _, value in window]
    if not values:
        return None
    numbers = [value for value in values if not math.isnan(value)]
    return min(numbers) if numbers else math.nan


def _greatest(window, _at):
    values = [value for _, value in window]
    if not values:
        return None
    numbers = [value for value in values if not math.isnan(value)]
    return max(numbers) if numbers else math.nan


def _changes(window, _at):
    if not window:
        return None
    pairs = itertools.pairwise(window)
    return float(sum(a != b and not (math.isnan(a) and math.isnan(b)) for (_, a), (_, b) in pairs))


REFERENCES = {
    "sum_over_time": lambda w, _: math.fsum(v for _, v in w) if w else None,
    "count_over_time": lambda w, _: float(len(w)) if w else None,
    "min_over_time": _least,
    "max_over_time": _greatest,
    "last_over_time": lambda w, _: w[-1][1] if w else None,
    "first_over_time": lambda w, _: w[0][1] if w else None,
    "present_over_time": lambda w, _: 1.0 if w else None,
    "changes": _changes,
    "resets": lambda w, _: (
        float(sum(b < a for (_, a), (_, b) in itertools.pairwise(w))) if w else None
    ),
    "ts_of_last_over_time": lambda w, _: w[-1][0] / 1000 if w else None,
}


@settings(max_examples=40, deadline=None)
@given(samples)
def test_folds_over_time_are_what_their_names_say(series):
    for name, reference in REFERENCES.items():
        same(asked(f"{name}(x_total[1m])", series), expected(reference, series))


@settings(max_examples=40, deadline=None)
@given(counters)
def test_average_and_deviation_agree_with_two_passes(series):
    def average(window, _at):
        return math.fsum(v for _, v in window) / len(window) if window else None

    def variance(window, at):
        mean = average(window, at)
        return math.fsum((v - mean) ** 2 for _, v in window) / len(window) if window else None

    same(asked("avg_over_time(x_total[1m])", series), expected(average, series))
    for at, value in expected(variance, series).items():
        got = asked("stdvar_over_time(x_total[1m])", series)[at]
        assert got == pytest.approx(value, rel=1e-6, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(counters, st.floats(0, 1))
def test_a_quantile_lies_between_its_neighbours(series, q):
    def quantile(window, _at):
        if not window:
            return None
        ordered = sorted(v for _, v in window)
        rank = q * (len(ordered) - 1)
        below = math.floor(rank)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] * (1 - (rank - below)) + ordered[above] * (rank - below)

    same(asked(f"quantile_over_time({q!r}, x_total[1m])", series), expected(quantile, series))


@settings(max_examples=40, deadline=None)
@given(samples, st.integers(0, 5))
def test_a_selector_takes_the_newest_sample_unless_it_is_stale_or_too_old(series, stale_every):
    marked = [
        (ts, STALE_NAN if stale_every and i % (stale_every + 1) == 0 else np.float64(value))
        for i, (ts, value) in enumerate(series)
    ]
    got = asked("x_total", marked, end=700_000, step=11_000)
    bits = [np.float64(value).view(np.uint64) for _, value in marked]
    wanted = {}
    for at in range(0, 700_001, 11_000):
        before = [i for i, (ts, _) in enumerate(marked) if at - 300_000 < ts <= at]
        if before and bits[before[-1]] != 0x7FF0000000000002:
            wanted[at] = float(marked[before[-1]][1])
    same(got, wanted)


def test_a_window_is_open_at_its_left_edge():
    series = [(ts, 1.0) for ts in range(0, 120_001, 15_000)]
    assert asked("count_over_time(x_total[1m])", series, start=60_000, end=60_000)[60_000] == 4.0


def test_a_sum_of_many_small_and_one_large_value_keeps_the_small_ones():
    series = [(1_000, 1e16), *((1_001 + i, 1.0) for i in range(10)), (2_000, -1e16)]
    assert asked("sum_over_time(x_total[1m])", series, start=3_000, end=3_000) == {3_000: 10.0}


def test_an_average_does_not_overflow_where_the_sum_would():
    series = [(1_000 + i, 1.5e308) for i in range(4)]
    got = asked("avg_over_time(x_total[1m])", series, start=3_000, end=3_000)
    assert got[3_000] == pytest.approx(1.5e308)


def test_stale_markers_are_not_samples_of_a_window():
    series = [(1_000, 1.0), (2_000, STALE_NAN), (3_000, 3.0)]
    assert asked("count_over_time(x_total[1m])", series, start=4_000, end=4_000) == {4_000: 2.0}


def test_a_subquery_is_aligned_to_its_own_step():
    series = [(ts, ts / 1000) for ts in range(0, 200_001, 1_000)]
    got = asked("min_over_time(x_total[50s:20s])", series, start=65_000, end=65_000)
    assert got == {65_000: 20.0}
