"""A query that asks for too much, or for nonsense, gets an error that says what to do."""

import contextlib
import threading
from datetime import timedelta

import numpy as np
import pytest

from meshkit.errors import MeshError
from telemetry.promql.engine import Engine
from telemetry.promql.errors import (
    QUERY_FAILED,
    QUERY_INVALID,
    QUERY_TIMED_OUT,
    QUERY_TOO_LARGE,
)
from telemetry.promql.labels import make
from telemetry.promql.limits import Budget, QueryLimits
from telemetry.promql.parse import parse_selector
from tests.scenarios.telemetry_query.memory import MemorySource


@contextlib.contextmanager
def refused(reason, match=None):
    with pytest.raises(MeshError, match=match) as caught:
        yield
    assert caught.value.reason == reason


def engine(series=3, samples=10, **limits):
    source = MemorySource()
    for i in range(series):
        labels = make({"__name__": "x", "i": str(i), "job": "j"})
        for k in range(samples):
            source.add(labels, k * 1000, np.float64(k))
    return Engine(source=source, limits=QueryLimits(**limits))


def test_a_range_of_more_steps_than_allowed_is_refused_before_anything_is_read():
    with refused(QUERY_TOO_LARGE, match="11,000 points"):
        engine().range("x", 0, 11_000_000, 1_000)


def test_the_last_allowed_number_of_steps_is_answered():
    answer = engine().range("x", 0, 10_999_000, 1_000)
    assert len(answer.series) == 3


def test_a_selector_of_too_many_series_is_refused():
    with refused(QUERY_TOO_LARGE):
        engine(series=4, series_max=3).instant("x", 5_000)


def test_the_samples_of_all_nodes_count_together():
    with refused(QUERY_TOO_LARGE, match="too many samples"):
        engine(samples_max=100).range("x + x + x", 0, 9_000, 1_000)


def test_a_subquery_with_a_tiny_step_is_refused_without_being_laid_out():
    with refused(QUERY_TOO_LARGE):
        engine().instant("max_over_time(vector(1)[1y:1ms])", 5_000)


def test_the_cells_of_an_answer_count_before_they_are_made():
    with refused(QUERY_TOO_LARGE):
        engine(samples_max=1_000).range("x", 0, 10_000_000, 1_000)


def test_windows_that_hold_too_much_together_are_refused():
    with refused(QUERY_TOO_LARGE, match="windows"):
        engine(window_samples_max=100).range("sum_over_time(x[1h])", 0, 9_000, 1_000)


def test_pairs_of_series_that_never_meet_count_too():
    source = MemorySource()
    for i in range(100):
        for name in ("a", "b"):
            labels = make({"__name__": name, "i": str(i)})
            source.add(labels, i * 600_000, np.float64(1))
    limits = QueryLimits(samples_max=50_000)
    with refused(QUERY_TOO_LARGE):
        Engine(source=source, limits=limits).range("a * on() b", 0, 60_000_000, 600_000)


def test_every_value_that_count_values_finds_counts():
    with refused(QUERY_TOO_LARGE):
        engine(samples_max=350).range('count_values("v", x)', 0, 90_000, 1_000)


def test_a_query_whose_time_is_up_is_ended():
    with refused(QUERY_TIMED_OUT):
        engine(timeout=timedelta(seconds=-1)).instant("x", 5_000)


def test_a_query_nobody_waits_for_is_ended():
    stop = threading.Event()
    stop.set()
    with refused(QUERY_TIMED_OUT):
        engine().instant("x", 5_000, stop=stop)


def test_a_budget_looks_at_the_clock_with_each_spending():
    now = [100.0]
    budget = Budget(limits=QueryLimits(timeout=timedelta(seconds=5)), clock=lambda: now[0])
    budget.spend(1)
    now[0] = 105.1
    with refused(QUERY_TIMED_OUT):
        budget.spend(1)
    assert budget.samples == 2


@pytest.mark.parametrize(
    "query",
    [
        "sum(",
        "x{",
        'x{a=~"(["}',
        "rate(x)",
        "nosuch(x)",
        "1 == 2",
        "x[0s]",
        "",
        "(" * 300 + "x" + ")" * 300,
        "- " * 400 + "x",
        "x" + "+x" * 30_000,
        "x" + " or x" * 10_000,
        "abs(" * 190 + "x" + "+x" * 290 + ")" * 190,
        "x" * 70_000,
        'x{a=~"' + "a" * 5_000 + '.*"}',
    ],
)
def test_nonsense_is_the_callers_fault(query):
    with refused(QUERY_INVALID):
        engine().instant(query, 5_000)


def test_operators_within_strings_and_comments_do_not_count():
    text = "+" * 1_000
    answer = engine().instant(f'label_replace(x{{i="0"}}, "a", "{text}", "", "") # {text}', 5_000)
    assert [dict(row.labels)["a"] for row in answer.series] == [text]


def test_a_hostile_regular_expression_takes_linear_time():
    source = MemorySource()
    source.add(make({"__name__": "x", "a": "a" * 2_000 + "!"}), 1_000, np.float64(1))
    limits = QueryLimits(timeout=timedelta(seconds=5))
    answer = Engine(source=source, limits=limits).instant('x{a=~"(a+)+(a+)+(a|a)*b"}', 2_000)
    assert answer.series == []


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, 10, 0), (0, 10, -1), (10, 0, 1), (0, 1 << 60, 1 << 50)]
)
def test_a_range_of_impossible_times_is_the_callers_fault(start, end, step):
    with refused(QUERY_INVALID):
        engine().range("x", start, end, step)


def test_series_that_match_one_to_many_are_named():
    with refused(QUERY_FAILED, match="found duplicate series for the match group"):
        engine().instant("x * on(job) x", 5_000)


def test_series_that_become_equal_are_refused():
    with refused(QUERY_FAILED, match="same labelset"):
        engine().instant('label_replace(x, "i", "", "", "")', 5_000)


@pytest.mark.parametrize("text", ["x[5m]", "sum(x)", "x offset 5m", "x @ 3", "1"])
def test_only_a_plain_selector_selects_series(text):
    with refused(QUERY_INVALID):
        parse_selector(text, QueryLimits())


def test_values_of_labels_are_data_never_syntax():
    source = MemorySource()
    nasty = "'; DROP TABLE samples; --\n\\\""
    source.add(make({"__name__": "x", "a": nasty}), 1_000, np.float64(1))
    answer = Engine(source=source).instant('x{a="\'; DROP TABLE samples; --\\n\\\\\\""}', 2_000)
    assert [dict(row.labels)["a"] for row in answer.series] == [nasty]
