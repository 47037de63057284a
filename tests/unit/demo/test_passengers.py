from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.demo.day import load_day
from meshctl.demo.passengers import (
    LOCALES,
    PASSENGERS_MAX,
    Channel,
    followers,
    passengers_of,
)
from tests.fixtures.day import calm, small_day


@calm
@given(st.integers(min_value=1, max_value=200), st.integers(min_value=1, max_value=200))
def test_who_a_passenger_is_does_not_depend_on_how_many_there_are(one, other):
    fewer, more = sorted((one, other))

    assert passengers_of(small_day(), fewer) == passengers_of(small_day(), more)[:fewer]


@calm
@given(st.integers(min_value=1, max_value=200))
def test_every_passenger_follows_flights_of_the_day_each_once(count):
    keys = {f.key for f in small_day().flights}

    for passenger in passengers_of(small_day(), count):
        assert passenger.flights
        assert set(passenger.flights) <= keys
        assert len(set(passenger.flights)) == len(passenger.flights)


@pytest.fixture(scope="module")
def crowd():
    return passengers_of(load_day(), 1000)


def test_all_languages_and_choices_of_channels_occur(crowd):
    assert {p.locale for p in crowd} == set(LOCALES)
    assert Counter(p.channels for p in crowd).keys() == {
        (Channel.EMAIL, Channel.IN_APP),
        (Channel.IN_APP,),
        (Channel.EMAIL,),
    }


def test_addresses_are_unique_and_at_domains_reserved_for_examples(crowd):
    assert len({p.email for p in crowd}) == len(crowd)
    assert {p.email.partition("@")[2] for p in crowd} == {
        "example.com",
        "example.net",
        "example.org",
    }


def test_followers_are_counted_by_flight(crowd):
    count = followers(crowd)

    assert count.total() == sum(len(p.flights) for p in crowd)
    assert min(count.values()) > 0


@pytest.mark.parametrize("count", [0, -1, PASSENGERS_MAX + 1])
def test_a_count_out_of_range_is_refused(count):
    with pytest.raises(ValueError, match="passengers must be from 1 to"):
        passengers_of(small_day(), count)
