"""
The text that Prometheus scrapes, by its edges: what is read, and what fails the whole scrape.

Written from Prometheus's text format 0.0.4 and OpenMetrics 1.0.
"""

import math
import time

import numpy as np
import pytest

from meshkit.errors import InvalidInput
from telemetry.scan.exposition_described import Header, sealed
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import Signal
from telemetry.scan.sink import Sample


NOW = time.time_ns()


def read(text, *, seconds=False):
    """The series of a scrape as (labels, value, milliseconds), and their kinds by name."""
    request = sealed(Header(labels={}, seconds=seconds), text.encode())
    scan = Scanner().judge(Signal.SCRAPE, request, NOW)
    by_id = {one.series_id: one for one in scan.new_series}
    samples = scan.batch.samples
    found = [
        (
            by_id[int(series)].labels,
            float(samples.view(np.float64)[Sample.VALUE, row]),
            int(samples[Sample.TIME, row]),
        )
        for row, series in enumerate(samples[Sample.SERIES])
    ]
    return found, {one.name: one.kind.name for one in scan.new_series}


def labels(**more):
    return {"__name__": "m", **more}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m 1\n", labels()),
        ("m 1", labels()),
        ("  m\t \t1  \n", labels()),
        ("m{} 1\n", labels()),
        ("m{ } 1\n", labels()),
        ('m{a="1"} 1\n', labels(a="1")),
        ('m{a="1",} 1\n', labels(a="1")),
        ('m{ a = "1" , b = "2" } 1\n', labels(a="1", b="2")),
        ('m {a="1"} 1\n', labels(a="1")),
        ('m{a=""} 1\n', labels()),
        ('m{a="}"} 1\n', labels(a="}")),
        ('m{a=" # "} 1\n', labels(a=" # ")),
        ('m{a="\\\\"} 1\n', labels(a="\\")),
        ('m{a="\\""} 1\n', labels(a='"')),
        ('m{a="x\\ny"} 1\n', labels(a="x\ny")),
        ('m{a="ÿ\U0001f6eb"} 1\n', labels(a="ÿ\U0001f6eb")),
        ("\n\n# a comment\n#\n#no space\n# HELP\n# TYPE m\nm 1\n\n", labels()),
        ("# HELP m with \\\\ and \\n\nm 1\n", labels()),
        ("a:b:c 1\n", {"__name__": "a:b:c"}),
        ("_ 1\n", {"__name__": "_"}),
    ],
)
def test_a_line_is_read_however_it_is_spaced_and_quoted(text, expected):
    ((found, value, _),), _ = read(text)

    assert found == expected
    assert value == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("-0", -0.0),
        ("+1", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("12345678901234567890", 12345678901234567890.0),
        ("0.30000000000000004", 0.30000000000000004),
        ("5e-324", 5e-324),
        ("1e400", math.inf),
        ("NaN", math.nan),
        ("nan", math.nan),
        ("Inf", math.inf),
        ("+Inf", math.inf),
        ("-inf", -math.inf),
    ],
)
def test_numbers_are_read_to_the_bit(text, expected):
    ((_, value, _),), _ = read(f"m {text}\n")

    assert value == expected or (math.isnan(value) and math.isnan(expected))
    assert math.copysign(1, value) == math.copysign(1, expected) or math.isnan(expected)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("m 1 {ms}", False), ("m 1 {s}.25", True), ('m 1 {s}.25 # {{a="b"}} 1 2', True)],
)
def test_times_are_milliseconds_and_in_openmetrics_seconds(text, seconds):
    at = NOW // 10**9 - 60
    told = text.format(ms=at * 1000 + 250, s=at)
    ((_, _, ms),), _ = read(f"{told}\n", seconds=seconds)

    assert ms == at * 1000 + 250


def test_families_say_what_their_series_are():
    text = """# TYPE c counter
c_total 1
c_created 1
# TYPE g gauge
g 1
# TYPE h histogram
h_bucket{le="+Inf"} 1
h_sum 1
h_count 1
# TYPE s summary
s{quantile="0.5"} 1
# TYPE i info
i_info{a="b"} 1
# TYPE u unknown
u 1
nobody_said 1
# EOF
"""
    _, kinds = read(text, seconds=True)

    assert kinds == {
        "c_total": "COUNTER",
        "c_created": "COUNTER",
        "g": "GAUGE",
        "h_bucket": "HISTOGRAM",
        "h_sum": "HISTOGRAM",
        "h_count": "HISTOGRAM",
        "s": "SUMMARY",
        "i_info": "GAUGE",
        "u": "UNKNOWN",
        "nobody_said": "UNKNOWN",
    }


@pytest.mark.parametrize(
    "line",
    [
        "m",
        "m ",
        "m{",
        'm{a="1"',
        'm{a="1} 1',
        'm{a="1"}',
        'm{a="1"} x',
        "m x",
        "m 1x",
        "m 1e",
        "m --1",
        "m 1 x",
        "m 1 2 3",
        "m 1,5",
        "m infinit",
        "m 0x1g",
        "m{a} 1",
        "m{a=1} 1",
        "m{a='1'} 1",
        'm{="1"} 1',
        'm{a="1",,b="2"} 1',
        "m{,} 1",
        'm{a="1" b="2"} 1',
        'm{a="1",a="2"} 1',
        'm{1a="1"} 1',
        'm{a-b="1"} 1',
        "1m 1",
        "m-n 1",
        '{a="1"} 1',
        'm{a="\xff"} 1',
    ],
)
def test_a_line_that_cant_be_read_fails_the_scrape_with_what_is_good_in_it(line):
    data = f"good 1\n{line}\nlater 1\n".encode("latin-1" if "\xff" in line else "utf-8")

    with pytest.raises(InvalidInput) as refused:
        Scanner().judge(Signal.SCRAPE, sealed(Header(labels={}), data), NOW)
    assert refused.value.reason.startswith("MALFORMED")
