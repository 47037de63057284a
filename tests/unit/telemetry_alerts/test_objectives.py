"""The rules that are made of an objective, and what is left of its budget."""

import numpy as np
import pytest

from telemetry.objectives.model import DAY_MS, HOUR_MS, MINUTE_MS, Objective
from telemetry.objectives.rules import (
    BURN_RATE,
    PAGE,
    TICKET,
    group_ids,
    groups_of,
    pairs_of,
    windows_of,
)
from telemetry.objectives.standing import by_labels, ordered
from telemetry.promql.engine import Series
from telemetry.promql.labels import make
from telemetry.rules.files import as_spec, read_group


def objective(**more):
    given = {
        "id": "edge",
        "target": 0.999,
        "total": "requests_total",
        "bad": 'requests_total{code="5xx"}',
        "group_by": ("service",),
    }
    return Objective(**{**given, **more})


def test_the_windows_of_four_weeks_are_those_of_the_sre_workbook():
    pairs = pairs_of(objective())
    assert [(one.long_ms, one.short_ms, one.severity) for one in pairs] == [
        (HOUR_MS, 5 * MINUTE_MS, PAGE),
        (6 * HOUR_MS, 30 * MINUTE_MS, PAGE),
        (DAY_MS, 2 * HOUR_MS, TICKET),
        (3 * DAY_MS, 6 * HOUR_MS, TICKET),
    ]
    # 2 % of 28 days' budget in an hour, 5 % in six, 10 % in a day, 10 % in three.
    assert [round(one.factor, 2) for one in pairs] == [13.44, 5.6, 2.8, 0.93]


def test_shorter_windows_are_scaled_and_none_is_below_a_minute():
    pairs = pairs_of(objective(window_ms=DAY_MS))
    assert [one.long_ms // MINUTE_MS for one in pairs] == [2, 13, 51, 154]
    assert min(windows_of(objective(window_ms=DAY_MS))) == MINUTE_MS
    shares = [one.factor * one.long_ms / DAY_MS for one in pairs]
    assert shares == pytest.approx([0.02, 0.05, 0.1, 0.1])


def test_a_burn_rate_that_can_not_be_reached_is_not_waited_for():
    # If every event is bad, a budget of a tenth burns ten times too fast, never 13.4 times.
    assert len(pairs_of(objective(target=0.9))) == 3


@pytest.mark.parametrize(
    "one",
    [
        objective(),
        objective(group_by=()),
        objective(bad="", good='requests_bucket{le="0.5"}'),
        objective(window_ms=DAY_MS, target=0.5),
        objective(alerts=False),
        objective(title="Ninety {{ nine }}", page_policy="ops", labels=(("team", "edge"),)),
    ],
)
def test_what_is_made_of_it_are_rules(one):
    for group_id, group in groups_of(one).items():
        assert group_id in group_ids("edge")
        assert read_group(as_spec(group)) == group


def test_rules_that_read_what_others_record_come_after_them():
    own, budget = groups_of(objective()).values()
    names = [rule.name for rule in own.rules]
    assert names[:3] == ["objective:events:rate", "objective:bad_events:rate", BURN_RATE]
    assert names[-2:] == ["ErrorBudgetBurnsFast", "ErrorBudgetBurns"]
    assert own.rules[-2].expr == (
        "max without (window) ("
        '(objective:burn_rate{objective="edge", window="1h"} > 13.44'
        ' and ignoring (window) objective:burn_rate{objective="edge", window="5m"} > 13.44)'
        ' or (objective:burn_rate{objective="edge", window="6h"} > 5.6'
        ' and ignoring (window) objective:burn_rate{objective="edge", window="30m"} > 5.6))'
    )
    assert (own.interval_ms, budget.interval_ms) == (30_000, 120_000)
    assert budget.rules[0].labels == (("window", "4w"),)
    quiet, _ = groups_of(objective(alerts=False)).values()
    assert not [rule for rule in quiet.rules if rule.alert]


def rate(value, window, **labels):
    return Series(
        labels=make({"__name__": BURN_RATE, "objective": "edge", "window": window, **labels}),
        ts=np.array([0]),
        values=np.array([value]),
    )


def test_what_is_left_of_each_budget_is_read_off_the_burn_rates():
    one = objective()
    recorded = [
        rate(0.5, "4w", service="a"),
        rate(2.0, "6h", service="a"),
        rate(1.5, "4w", service="b"),
        rate(9.0, "6h", service="b"),
        rate(0.2, "4w", service="c"),
        rate(0.9, "6h", service="c"),
        rate(7.0, "13h", service="c"),  # of an earlier form of it
    ]
    found = ordered(one, by_labels(one, recorded), 1_000)
    assert [dict(each.labels)["service"] for each in found] == ["b", "a", "c"]
    assert [each.spent for each in found] == [1.5, 0.5, 0.2]
    # Half of it is left, and goes at twice the pace that would use all of it up in four weeks.
    assert [each.exhaust_ms for each in found] == [0, 1_000 + 7 * DAY_MS, 0]
    assert found[2].rates == {6 * HOUR_MS: 0.9, 28 * DAY_MS: 0.2}
