"""Who is on call, and what holds what back."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshkit.errors import InvalidInput
from telemetry.alerts.model import selection_of
from telemetry.alerts.routing import (
    Inhibition,
    Override,
    Policy,
    Routing,
    Schedule,
    Step,
    inhibited,
    on_call,
)
from telemetry.promql.labels import make


BERLIN = ZoneInfo("Europe/Berlin")
TURNS = Schedule(
    id="ops",
    time_zone="Europe/Berlin",
    participants=("ann", "bob", "cyd"),
    start_date=date(2026, 3, 2),
    handover=time(9),
    turn_days=7,
)


def ms(*when):
    return int(datetime(*when, tzinfo=BERLIN).timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "who"),
    [
        ((2026, 3, 2, 8, 59), ""),
        ((2026, 3, 2, 9, 0), "ann"),
        ((2026, 3, 9, 8, 59), "ann"),
        ((2026, 3, 9, 9, 0), "bob"),
        # Clocks go forward on March 29th: turns change at nine all the same.
        ((2026, 3, 30, 8, 59), "ann"),
        ((2026, 3, 30, 9, 0), "bob"),
    ],
)
def test_turns_change_at_a_local_time_of_day(at, who):
    assert on_call(TURNS, ms(*at)) == who


@given(st.integers(ms(2026, 3, 3), ms(2030, 1, 1)))
@example(ms(2026, 10, 12, 9))
def test_everybody_takes_turns(at):
    first = datetime.fromtimestamp(at / 1000, BERLIN)
    # By the clock, which goes back in some weeks.
    weeks = [first + timedelta(weeks=i) for i in range(3)]
    people = {on_call(TURNS, int(one.timestamp() * 1000)) for one in weeks}
    assert people == {"ann", "bob", "cyd"}


def test_of_overrides_the_last_counts_while_it_lasts():
    def override(who, first, last):
        return Override(start_ms=ms(2026, 3, first), end_ms=ms(2026, 3, last), participant=who)

    schedule = Schedule(
        id="ops",
        participants=("ann",),
        start_date=date(2026, 1, 1),
        overrides=(override("eve", 3, 6), override("fay", 5, 7)),
    )
    found = [on_call(schedule, ms(2026, 3, day, 13)) for day in range(2, 8)]
    assert found == ["ann", "eve", "eve", "fay", "fay", "ann"]


def test_targets_are_told_once_each():
    schedule = Schedule(id="ops", participants=("ann",), start_date=date(2026, 1, 1))
    routing = Routing(schedules=(schedule,))
    found = routing.recipients(["ann", "schedules/ops", "schedules/none", "bob"], ms(2026, 3, 1))
    assert found == ["ann", "bob"]


def test_a_rule_that_names_no_policy_goes_by_the_default_one():
    steps = (Step(after_ms=0, targets=("ann",)),)
    default, night = Policy(id="default", steps=steps), Policy(id="night", steps=steps)
    assert Routing(policies=(default, night)).policy("night") is night
    assert Routing(policies=(default, night)).policy("") is default
    assert Routing(policies=(night,)).policy("none") is None


def test_a_source_holds_back_what_is_equal_to_it_and_never_its_like():
    rule = Inhibition(source=('severity="page"',), target=('severity=~".+"',), equal=("site",))
    alerts = [
        make({"alertname": "A", "severity": "page", "site": "x"}),
        make({"alertname": "B", "severity": "warn", "site": "x"}),
        make({"alertname": "C", "severity": "warn", "site": "y"}),
        make({"alertname": "D", "severity": "page", "site": "x"}),
        make({"alertname": "E", "site": "x"}),
    ]
    assert inhibited(alerts, [rule]) == [False, True, False, False, False]


@pytest.mark.parametrize("text", ["", "a", "a=b", 'a="b",c="d"', 'a=~"("', 'a="b"} or {c="d"'])
def test_what_is_no_single_matcher_is_refused(text):
    with pytest.raises(InvalidInput) as refused:
        selection_of([text])
    assert refused.value.reason == "INVALID_MATCHER"
