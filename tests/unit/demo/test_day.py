from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from meshctl.demo.day import AIRPORTS, DEFAULT_DATE, DayUnavailable, load_day


@pytest.fixture(scope="module")
def storm():
    return load_day(DEFAULT_DATE)


def test_the_default_day_is_the_storm_we_say_it_is(storm):
    late = [f for f in storm.flights if f.delay >= timedelta(minutes=15)]

    assert len(storm.flights) == 979
    assert len(late) == 552
    assert sum(f.delay >= timedelta(hours=1) for f in late) == 398
    assert sum(f.departed is None for f in storm.flights) == 180
    assert sum(f.departed is not None and f.arrived is None for f in storm.flights) == 1


def test_flight_keys_are_unique_and_airports_are_new_yorks(storm):
    assert max(Counter(f.key for f in storm.flights).values()) == 1
    assert {f.origin for f in storm.flights} == set(AIRPORTS)


def test_schedules_are_read_in_new_yorks_time(storm):
    first = storm.flights[0]

    assert first.key == "us1843-ewr"
    assert first.scheduled == datetime(2013, 3, 8, 10, 0, tzinfo=UTC)
    assert first.delay == timedelta(minutes=-4)


def test_arrivals_are_read_in_the_destinations_time(storm):
    flights = {f.key: f for f in storm.flights}
    honolulu = next(f for f in storm.flights if f.place.code == "HNL")

    assert honolulu.place.zone == "Pacific/Honolulu"
    assert timedelta(hours=10) < honolulu.arrived - honolulu.departed < timedelta(hours=13)
    assert flights["us1843-ewr"].arrived.astimezone(ZoneInfo("America/New_York")).hour == 6


def test_every_arrival_is_after_its_departure_and_within_a_day(storm):
    spans = [f.arrived - f.departed for f in storm.flights if f.arrived]

    assert min(spans) > timedelta(0)
    assert max(spans) < timedelta(hours=13)


def test_all_flights_belong_to_the_operating_day(storm):
    assert storm.begins == datetime(2013, 3, 8, 9, tzinfo=UTC)
    assert all(
        timedelta(0) <= f.scheduled - storm.begins < timedelta(days=1) for f in storm.flights
    )


def test_a_cached_day_equals_the_day_it_was_cut_from(storm, tmp_path):
    first = load_day(DEFAULT_DATE, cache=tmp_path / "cache")
    again = load_day(DEFAULT_DATE, cache=tmp_path / "cache")

    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["flights-2013-03-08.csv"]
    assert first == again == storm


def test_a_day_without_data_is_refused_with_advice():
    with pytest.raises(DayUnavailable, match="no flights on 2014-01-01; choose a day of 2013"):
        load_day(date(2014, 1, 1))
