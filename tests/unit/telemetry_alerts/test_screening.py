"""What is screened out finds nothing when it is evaluated, whatever the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.head.extract import Columns as Taken
from telemetry.head.head import Head
from telemetry.head.source import HeadSource
from telemetry.promql.labels import make
from telemetry.promql.limits import QueryLimits
from telemetry.promql.parse import parse
from telemetry.rules.evaluating import evaluate, prepare
from telemetry.rules.model import Group, Rule
from telemetry.rules.screening import quiet
from telemetry.rules.shapes import shape_of


STALE = float(np.array([0x7FF0000000000002], np.uint64).view(np.float64)[0])
SERIES = {
    1: make({"__name__": "m", "n": "1", "z": "a"}),
    2: make({"__name__": "m", "n": "2", "z": "a"}),
    3: make({"__name__": "m", "n": "3", "z": "b"}),
    4: make({"__name__": "m", "n": "3", "z": "b"}),  # equal labels under another id
}
LIMITS = QueryLimits()
inner = st.sampled_from(
    [
        "m",
        'm{n="1"}',
        'm{n=~"1|2"}',
        'm{n="3"}',
        "none",
        "rate(m[60s])",
        'increase(m{n!="3"}[60s])',
        'delta(m{z="a"}[90s])',
    ]
)
folds = st.sampled_from(
    ["{}", "sum({})", "sum by (z) ({})", "avg({})", "min by (z) ({})", "max({})"]
)
compared = st.sampled_from(["{} {} {}", "{2} {1} {0}"])
operators = st.sampled_from([">", ">=", "<", "<=", "==", "!="])
numbers = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, 1e9])
VALUES = (0.0, 1.0, -1.0, 2.0, 0.1, float("nan"), float("inf"), STALE)


def drawn(chance, size):
    return [
        (chance.choice(list(SERIES)), chance.randint(0, 400_000), chance.choice(VALUES))
        for _ in range(size)
    ]


samples = st.builds(drawn, st.randoms(use_true_random=True), st.integers(0, 40))


class Nowhere:
    def select(self, *_, **__):
        raise AssertionError("the store was asked")


@settings(max_examples=400)
@given(samples, st.tuples(inner, folds, compared, operators, numbers))
def test_what_is_screened_out_finds_nothing(rows, parts):
    inner, fold, form, operator, number = parts
    head = Head(1 << 20)
    for one, labels in SERIES.items():
        head.name((1, one), "", labels)
    head.begin(-1)
    rows.sort(key=lambda row: row[1] // 100_000)  # out of order, as far as blocks go
    head.take(
        Taken(
            ids=np.array([row[0] for row in rows], np.uint64),
            ts_ms=np.array([row[1] for row in rows], np.int64),
            values=np.array([row[2] for row in rows], np.float64),
        )
    )
    expr = form.format(fold.format(inner), operator, number)
    rule = Rule(alert="A", expr=expr)
    prepared = prepare(Group(name="g", rules=(rule,)), rule, LIMITS)
    assert prepared.shape is not None
    found = quiet(head, "", [prepared.shape, None], 390_000)
    result = evaluate(prepared, HeadSource(head=head, store=Nowhere(), tenant=""), 390_000, LIMITS)
    if 0 in found:
        assert not result.outcome.holding
        assert found[0] is result.outcome.has_data
    assert 1 not in found


def test_most_rules_that_find_nothing_are_screened_out():
    head = Head(1 << 20)
    for one, labels in SERIES.items():
        head.name((1, one), "", labels)
    head.begin(0)
    ids = np.array([1, 2] * 10, np.uint64)
    ts = np.arange(20, dtype=np.int64) // 2 * 1_000 + 300_000
    head.take(Taken(ids=ids, ts_ms=ts, values=np.arange(20.0)))
    exprs = ['m{z="a"} > 100', 'rate(m{z="a"}[5s]) > 100', 'sum by (z) (m{z="a"}) < 0']
    shapes = [shape_of(parse(one, LIMITS)) for one in exprs]
    assert quiet(head, "", shapes, 310_000) == {0: True, 1: True, 2: True}


@pytest.mark.parametrize(
    "expr",
    [
        "m",
        "m > bool 1",
        "m > m",
        "m offset 5m > 1",
        "m @ 10 > 1",
        "topk(1, m) > 1",
        "rate(m[5m:1m]) > 1",
        "irate(m[5m]) > 1",
        "m > NaN",
    ],
)
def test_other_shapes_are_evaluated(expr):
    assert shape_of(parse(expr, LIMITS)) is None
