"""When a service was heard, and how it does in a word."""

import numpy as np
import pytest

from telemetry.promql.engine import Answer, Series
from telemetry.promql.labels import make
from telemetry.promql.nodes import Kind
from telemetry.status.asking import least, service_of, values
from telemetry.status.table import Presence, Row, State, grid_of, presence, slot_of


GRID = (30_000, 300_000, 30_000)
ENDS = np.arange(30_000, 300_001, 30_000)


def heard(*counts):
    there = [(end, count) for end, count in zip(ENDS, counts, strict=True) if count is not None]
    ts, found = zip(*there, strict=True)
    return presence(np.array(ts), np.array(found, np.float64), GRID)


def test_slots_are_half_a_minute_or_a_500th_of_the_window():
    assert slot_of(3_600_000) == 30_000
    assert slot_of(86_400_000) == 172_800
    first, last, slot = grid_of(3_600_000, 10_000_000)
    assert (last - first) // slot + 1 == 120
    assert last == 10_000_000


def test_a_service_counts_from_when_it_was_first_heard():
    none = [None] * 6
    assert heard(*none, 1, 1, 1, 1) == Presence(instances=1, uptime=1.0, since_ms=180_000)


def test_a_gap_costs_uptime_and_begins_it_anew():
    found = heard(2, 2, None, 2, 2, 2, 2, 2, 2, 2)
    assert found == Presence(instances=2, uptime=0.9, since_ms=90_000)


def test_what_is_not_heard_now_is_down():
    found = heard(1, 1, 1, 1, 1, 1, 1, 1, None, None)
    assert found == Presence(instances=0, uptime=0.8, since_ms=0)
    assert Row(service="a", presence=found).state is State.DOWN
    assert presence(np.array([], np.int64), np.array([]), GRID).instances == 0


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, State.UP),
        ({"error_share": 0.05, "firing": 3}, State.UP),
        ({"error_share": 0.06}, State.DEGRADED),
        ({"firing": 1, "paging": True}, State.DEGRADED),
    ],
)
def test_what_fails_or_pages_is_degraded(more, state):
    there = Presence(instances=1, uptime=1.0, since_ms=1)
    assert Row(service="a", presence=there, **more).state is state


def answer(*rows):
    series = [
        Series(labels=make(labels), ts=np.array([0]), values=np.array([value]))
        for labels, value in rows
    ]
    return Answer(kind=Kind.VECTOR, series=series, text="", warnings=(), infos=(), samples=0)


def test_services_are_known_by_the_last_part_of_their_job():
    assert service_of("aerofusion/notifier") == service_of("notifier") == "notifier"
    rows = ({"job": "a/x"}, 1.0), ({"job": "b/x"}, 2.0), ({"job": "y"}, float("nan"))
    assert values(answer(*rows)) == {"x": 3.0}


def test_of_several_budgets_the_least_counts():
    rows = ({"service": "x"}, 0.5), ({"job": "a/x"}, 0.25), ({}, -1.0)
    assert least(answer(*rows)) == {"x": 0.25}
