"""Times, durations and values, read and written as Prometheus does."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.http import encode, formats
from telemetry.promql.engine import Answer, Series
from telemetry.promql.nodes import Kind


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", 0),
        ("1435781430.781", 1_435_781_430_781),
        ("1.4357814e9", 1_435_781_400_000),
        ("-1.5", -1_500),
        ("2015-07-01T20:10:30.781Z", 1_435_781_430_781),
        ("2015-07-01T20:10:30.781999999Z", 1_435_781_430_781),
        ("2015-07-01T22:10:30+02:00", 1_435_781_430_000),
    ],
)
def test_a_time_is_unix_seconds_or_rfc_3339(text, ms):
    assert formats.time_ms(text) == ms


@pytest.mark.parametrize("text", ["", "now", "NaN", "Inf", "1_0", " 1", "2015-07-01", "1e300"])
def test_anything_else_is_no_time(text):
    with pytest.raises(ValueError, match=r"cannot parse .* to a valid timestamp"):
        formats.time_ms(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("15", 15_000), ("0.5", 500), ("1h30m", 5_400_000), ("1d", 86_400_000), ("10ms", 10)],
)
def test_a_duration_is_seconds_or_units(text, ms):
    assert formats.duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "m", "1m1h", "1.5h", "1e300", "5 m"])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError, match=r"cannot parse .* to a valid duration"):
        formats.duration_ms(text)


def test_the_ends_of_time_are_times():
    assert formats.time_ms(formats.MIN_TIME) < 0 < formats.time_ms(formats.MAX_TIME)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("job", "job"),
        ("U__http_2e_status", "http.status"),
        ("U__a__b", "a_b"),
        ("__name__", "__name__"),
    ],
)
def test_escaped_label_names_are_unescaped(written, name):
    assert formats.label_name(written) == name


def encoded(values, ts=None):
    series = Series(
        labels=(("a", '"\u00e9'),),
        ts=np.array(ts or range(len(values)), np.int64) * 1000,
        values=np.array(values, np.float64),
    )
    answer = Answer(kind=Kind.MATRIX, series=[series], text="", warnings=(), infos=(), samples=0)
    return json.loads(encode.answer(answer, 0, 0))["data"]["result"][0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (1e15, "1000000000000000"),
        (1.2345678901234568e16, "12345678901234568"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_values_are_written_as_prometheus_writes_them(value, text):
    assert encoded([value])["values"] == [[0, text]]


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_every_value_survives_being_written(values):
    got = [float(text) for _, text in encoded(values)["values"]]
    assert np.array_equal(np.array(got), np.array(values), equal_nan=True)


def test_times_have_milliseconds_only_where_there_are_any():
    series = Series(labels=(), ts=np.array([1_000, 1_500, 1_007, -1], np.int64), values=np.zeros(4))
    answer = Answer(kind=Kind.MATRIX, series=[series], text="", warnings=(), infos=(), samples=0)
    text = encode.answer(answer, 0, 0)
    assert '[[1,"0"],[1.500,"0"],[1.007,"0"],[-0.001,"0"]]' in text


def test_labels_are_escaped():
    assert encoded([1.0])["metric"] == {"a": '"\u00e9'}
