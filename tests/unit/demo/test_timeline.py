from collections import defaultdict
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.demo.day import AIRPORTS, load_day
from meshctl.demo.timeline import Kind, events_of
from tests.fixtures.day import NOON, calm, day_of, flight, small_day


FINAL = {Kind.ARRIVED, Kind.CANCELLED, Kind.DIVERTED}

minutes = st.integers(min_value=0, max_value=17 * 60)
flights = st.builds(
    lambda number, airport, at, delay, airborne: flight(
        f"ua{number}-{airport.lower()}",
        scheduled=NOON - timedelta(hours=7) + timedelta(minutes=at),
        delay_minutes=delay,
        airborne_minutes=airborne,
    ),
    st.integers(min_value=1, max_value=9999),
    st.sampled_from(AIRPORTS),
    minutes,
    st.none() | st.integers(min_value=-30, max_value=900),
    st.none() | st.integers(min_value=20, max_value=700),
)
days = st.lists(flights, min_size=1, max_size=25, unique_by=lambda f: f.key).map(
    lambda some: day_of(*some)
)


def by_flight(events):
    found = defaultdict(list)
    for event in events:
        found[event.flight.key].append(event)
    return found


def kinds_of(day, key):
    return [event.kind for event in by_flight(events_of(day))[key]]


@calm
@given(days)
def test_events_are_ordered_in_time_and_within_two_days(day):
    offsets = [event.offset for event in events_of(day)]

    assert offsets == sorted(offsets)
    assert timedelta(0) <= offsets[0]
    assert offsets[-1] < timedelta(days=2)


@calm
@given(days)
def test_every_flight_is_accounted_for_from_schedule_to_clearing(day):
    stories = by_flight(events_of(day))

    assert set(stories) == {f.key for f in day.flights}
    for story in stories.values():
        assert [event.number for event in story] == list(range(1, len(story) + 1))
        assert story[0].kind is Kind.SCHEDULED
        assert story[-1].kind is Kind.CLEARED
        assert story[-2].kind in FINAL
        assert sum(event.kind in FINAL for event in story) == 1


@calm
@given(days)
def test_an_announced_delay_only_grows_until_boarding(day):
    for story in by_flight(events_of(day)).values():
        delays = [event.delay for event in story if event.kind is Kind.DELAYED]

        assert delays == sorted(set(delays))


@calm
@given(days)
def test_the_last_announced_delay_of_a_flown_flight_is_the_real_one(day):
    for story in by_flight(events_of(day)).values():
        left = story[0].flight.departed
        boarding = [event for event in story if event.kind is Kind.BOARDING]
        if left is not None:
            assert [event.expected for event in boarding] == [left]


@calm
@given(days)
def test_no_flight_boards_without_a_gate(day):
    for event in events_of(day):
        if event.kind in (Kind.BOARDING, Kind.DEPARTED):
            assert event.gate


@calm
@given(days)
def test_the_same_day_always_has_the_same_events(day):
    assert events_of(day) == events_of(day)


def test_each_fate_has_its_own_story():
    day = small_day()

    assert kinds_of(day, "ua1-ewr") == [
        Kind.SCHEDULED, Kind.GATE, Kind.BOARDING, Kind.DEPARTED, Kind.ARRIVED, Kind.CLEARED,
    ]  # fmt: skip
    assert kinds_of(day, "dl3-lga").count(Kind.DELAYED) == 4
    assert Kind.BOARDING not in kinds_of(day, "aa4-lga")
    assert kinds_of(day, "us5-lga")[-3:] == [Kind.DEPARTED, Kind.DIVERTED, Kind.CLEARED]


def test_departures_happen_when_they_really_happened():
    day = small_day()

    departures = [event for event in events_of(day) if event.kind is Kind.DEPARTED]

    assert len(departures) == 5
    for event in departures:
        late_by = day.begins + event.offset - event.flight.departed
        assert timedelta(0) <= late_by < timedelta(minutes=1)


@pytest.fixture(scope="module")
def storm_events():
    return events_of(load_day())


def test_the_storm_keeps_passengers_busy(storm_events):
    count = {kind: sum(event.kind is kind for event in storm_events) for kind in Kind}

    assert count[Kind.DELAYED] > 1400
    assert count[Kind.CANCELLED] == 180
    assert count[Kind.DEPARTED] == 799
    assert 0.05 < (count[Kind.GATE] - count[Kind.BOARDING]) / count[Kind.BOARDING] < 0.2


def test_no_two_flights_board_at_one_gate_at_once(storm_events):
    boarding = {}
    for event in storm_events:
        where = (event.flight.origin, event.gate)
        if event.kind is Kind.BOARDING:
            assert boarding.setdefault(where, event.flight.key) == event.flight.key
        if event.kind is Kind.DEPARTED:
            boarding.pop(where, None)
