from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.demo.replay import DAY, DEFAULT_SPEED, Clock, Position, Replay
from meshctl.demo.timeline import events_of
from tests.fixtures.day import NOON, calm, small_day


REAL = datetime(2026, 1, 1, tzinfo=UTC)
instants = st.integers(min_value=0, max_value=2_700_000_000_000).map(
    lambda microseconds: NOON + timedelta(microseconds=microseconds)
)
speeds = st.floats(min_value=0.1, max_value=10_000)


def replay(loops):
    day = small_day()
    return Replay(day=day, events=events_of(day), loops=loops)


@calm
@given(instants, instants, speeds)
def test_the_clock_never_runs_backwards(one, other, speed):
    clock = Clock(simulated=NOON, real=REAL, speed=speed)
    earlier, later = sorted((one, other))

    assert clock.real_at(earlier) <= clock.real_at(later)


@calm
@given(instants, speeds)
def test_the_clock_maps_there_and_back(instant, speed):
    clock = Clock(simulated=NOON, real=REAL, speed=speed)

    back = clock.simulated_at(clock.real_at(instant))

    assert abs(back - instant) <= timedelta(microseconds=1 + speed)


def test_at_the_default_speed_a_day_takes_ten_minutes():
    clock = Clock(simulated=NOON, real=REAL, speed=DEFAULT_SPEED)

    assert clock.real_at(NOON + DAY) - REAL == timedelta(minutes=10)


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_clock_that_stands_is_refused(speed):
    with pytest.raises(ValueError, match="speed must be greater than 0"):
        Clock(simulated=NOON, real=REAL, speed=speed)


@calm
@given(st.integers(min_value=1, max_value=4))
def test_each_loop_plays_every_event_once(loops):
    played = [(o.loop, o.event) for o in replay(loops).occurrences()]

    assert len(played) == len(set(played)) == loops * len(events_of(small_day()))


@calm
@given(st.integers(min_value=1, max_value=4))
def test_occurrences_are_ordered_by_instant_and_position(loops):
    played = list(replay(loops).occurrences())

    assert [o.at for o in played] == sorted(o.at for o in played)
    assert [o.position for o in played] == sorted({o.position for o in played})


def test_a_loop_overlaps_the_next_one():
    loops = [o.loop for o in replay(2).occurrences()]

    assert loops != sorted(loops)


def test_ids_are_unique_among_loops():
    played = list(replay(3).occurrences())

    assert len({o.event_id for o in played}) == len(played)
    assert {o.flight_id for o in played if o.event.flight.key == "ua1-ewr"} == {
        "ua1-ewr-20130308",
        "ua1-ewr-20130309",
        "ua1-ewr-20130310",
    }


@calm
@given(st.integers(min_value=0, max_value=60))
def test_a_replay_goes_on_from_any_position_as_if_it_had_never_stopped(at):
    whole = list(replay(3).occurrences())
    resumed = list(replay(3).occurrences(whole[at].position))

    assert resumed == whole[at:]


def test_a_replay_without_end_does_not_end():
    length = 5 * len(events_of(small_day()))

    assert len(list(islice(replay(None).occurrences(), length))) == length


def test_a_position_behind_the_last_window_is_the_end():
    assert list(replay(2).occurrences(Position(window=3))) == []


def test_times_shift_with_the_loop():
    third = next(o for o in replay(3).occurrences() if o.loop == 2)

    assert third.shifted(NOON) == NOON + timedelta(days=2)
