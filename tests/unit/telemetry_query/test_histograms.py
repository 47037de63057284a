"""Native histograms: what comes out of a query, and laws that sums of them obey."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.http import encode
from telemetry.promql.engine import Engine
from telemetry.promql.labels import make
from telemetry.promql.native.columns import CUSTOM, Hint, concatenated, none, select
from telemetry.query import messages
from tests.scenarios.telemetry_query.histogram import Histogram, columns, of_row, parse
from tests.scenarios.telemetry_query.memory import MemorySource


X = make({"__name__": "x"})
MIXED = parse("count:9 sum:5.5 z_bucket:2 z_bucket_w:0.001 n_buckets:[1] offset:1 buckets:[2 0 4]")


def engine(*samples, name="x"):
    source = MemorySource()
    for i, sample in enumerate(samples):
        value = sample if isinstance(sample, Histogram) else np.float64(sample)
        source.add(make({"__name__": name}), 15_000 * i, value)
    return Engine(source=source)


def test_the_http_api_tells_buckets_with_their_bounds():
    text = encode.answer(engine(MIXED).instant("x", 1_000), 1_000, 0)
    assert json.loads(text)["data"]["result"] == [
        {
            "metric": {"__name__": "x"},
            "histogram": [
                1,
                {
                    "count": "9",
                    "sum": "5.5",
                    "buckets": [
                        [1, "-1", "-0.5", "1"],
                        [3, "-0.001", "0.001", "2"],
                        [0, "1", "2", "2"],
                        [0, "4", "8", "4"],
                    ],
                },
            ],
        }
    ]


def test_a_range_tells_floats_and_histograms_apart():
    text = encode.answer(engine(1.5, MIXED).range("x", 0, 15_000, 15_000), 0, 0)
    row = json.loads(text)["data"]["result"][0]
    assert row["values"] == [[0, "1.5"]]
    assert [point[0] for point in row["histograms"]] == [15]


def test_grpc_tells_floats_and_histograms_apart():
    answer = engine(1.5, MIXED).range("x", 0, 15_000, 15_000)
    series = messages.time_series(answer.series, answer.histograms)[0]
    assert (list(series.timestamps_ms), list(series.values)) == ([0], [1.5])
    assert series.histograms[0].timestamp_ms == 15_000
    assert (series.histograms[0].count, series.histograms[0].sum) == (9, 5.5)
    assert [
        (b.lower, b.upper, b.count, b.lower_inclusive, b.upper_inclusive)
        for b in series.histograms[0].buckets
    ] == [
        (-1, -0.5, 1, True, False),
        (-0.001, 0.001, 2, True, True),
        (1, 2, 2, False, True),
        (4, 8, 4, False, True),
    ]


def drawn(chance):
    pos, neg = (
        {chance.randint(-20, 20): float(chance.randint(1, 50)) for _ in range(chance.randint(0, 6))}
        for _ in range(2)
    )
    zeros = float(chance.randint(0, 9))
    return Histogram(
        schema=chance.randint(-2, 5),
        count=sum(pos.values()) + sum(neg.values()) + zeros,
        sum=float(chance.randint(-100, 100)),
        zero_count=zeros,
        zero_threshold=chance.choice([0.0, 0.001, 0.25]),
        pos=pos,
        neg=neg,
        hint=Hint.GAUGE,
    )


exponential = st.randoms(use_true_random=True).map(drawn)


def added(*histograms):
    source = MemorySource()
    for i, one in enumerate(histograms):
        source.add(make({"__name__": "x", "i": str(i)}), 0, one)
    answer = Engine(source=source).instant("sum(x)", 0)
    return of_row(answer.histograms, int(answer.series[0].histogram[0]))


def same(a, b):
    return replace(a, hint=Hint.UNKNOWN) == replace(b, hint=Hint.UNKNOWN)


@settings(max_examples=150)
@given(st.lists(exponential, min_size=2, max_size=4))
def test_a_sum_doesnt_depend_on_the_order_and_loses_nothing(histograms):
    total = added(*histograms)
    assert total.schema == min(one.schema for one in histograms)
    assert total.count == sum(one.count for one in histograms)
    inside = sum(total.pos.values()) + sum(total.neg.values()) + total.zero_count
    assert inside == total.count
    for order in itertools.islice(itertools.permutations(histograms), 6):
        assert same(added(*order), total)


@settings(max_examples=100)
@given(exponential, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_and_stay_within_the_buckets(histogram, a, b):
    histogram = replace(histogram, zero_threshold=1e-30)  # below all buckets, as in real ones
    low, high = sorted((a, b))
    found = []
    for q in (0.0, low, high, 1.0):
        answer = engine(histogram).instant(f"histogram_quantile({q!r}, x)", 0)
        found.append(float(answer.series[0].values[0]))
    if histogram.count == 0:
        assert all(math.isnan(value) for value in found)
    else:
        assert found == sorted(found)


@settings(max_examples=100)
@given(exponential, st.floats(-100, 100))
def test_what_is_trimmed_from_above_and_below_makes_the_whole(histogram, at):
    parts = []
    for op in ("</", ">/"):
        answer = engine(histogram).instant(f"histogram_count(x {op} {at!r})", 0)
        parts.append(float(answer.series[0].values[0]))
    assert sum(parts) == pytest.approx(histogram.count, rel=1e-9, abs=1e-9)


def test_custom_and_exponential_buckets_dont_add_up():
    custom = Histogram(schema=CUSTOM, count=1, sum=1, pos={0: 1}, bounds=(5.0,))
    source = MemorySource()
    source.add(make({"__name__": "x", "i": "0"}), 0, custom)
    source.add(make({"__name__": "x", "i": "1"}), 0, MIXED)
    answer = Engine(source=source).instant("sum(x)", 0)
    assert answer.series == []
    assert "exponential and custom buckets" in answer.warnings[0]


def test_columns_are_joined_and_chosen_from_row_by_row():
    histograms = [
        MIXED,
        Histogram(schema=CUSTOM, count=3, sum=1, pos={0: 1, 2: 2}, bounds=(1.0, 2.0)),
        Histogram(),
    ]
    pool = concatenated([columns(histograms[:1]), none(), columns(histograms[1:])])
    assert [of_row(pool, i) for i in range(3)] == histograms
    chosen = select(pool, np.array([2, 0, 0, 1]))
    assert [of_row(chosen, i) for i in range(4)] == [histograms[i] for i in (2, 0, 0, 1)]


def test_buckets_count_as_samples_do():
    many = Histogram(count=1.0, pos=dict.fromkeys(range(1_000), 1.0))
    full = engine(*[many] * 10)
    limits = replace(full.limits, samples_max=5_000)
    with pytest.raises(Exception, match="too many samples"):
        Engine(source=full.source, limits=limits).instant("x[5m]", 150_000)


def test_who_knows_only_floats_finds_nan_where_there_are_histograms():
    for query in ("x", "x[5m]"):
        answer = engine(MIXED).instant(query, 1_000)
        assert [one.values.tolist() for one in answer.series] == [
            [pytest.approx(math.nan, nan_ok=True)]
        ]
