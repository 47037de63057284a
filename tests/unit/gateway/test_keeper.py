"""What is made of a source's answers."""

import dataclasses

import hypothesis.strategies as st
from hypothesis import given

from gateway.model import Endpoint, Health
from gateway.sources.keeper import ENDPOINTS_MAX, Keeper, KeeperLimits
from gateway.sources.source import Found


LIMITS = KeeperLimits(empty_grace=30, flaps_free=2, flap_hold=1, flap_hold_max=8, flap_window=60)


def at(number, health=Health.HEALTHY):
    return Endpoint(address=f"10.0.0.{number}", port=80, health=health)


def found(*endpoints, left=()):
    return Found(endpoints=endpoints, left=frozenset((one.address, one.port) for one in left))


def flapping(keeper, times, start=0.0):
    """Let endpoint 1 go and come back; returns the time after its last return."""
    now = start
    keeper.take(found(at(1), at(2)), now)
    keeper.settle(now)
    for _ in range(times):
        keeper.take(found(at(2)), now)
        keeper.settle(now)
        keeper.take(found(at(1), at(2)), now + 0.01)
        keeper.settle(now + 0.01)
        now += 0.02
    return now


def test_an_empty_answer_is_believed_only_after_a_while():
    keeper = Keeper(LIMITS)
    keeper.take(found(at(1)), 0)
    assert keeper.settle(0) == (at(1),)
    keeper.take(found(), 1)
    assert keeper.settle(1) == (at(1),)
    keeper.take(found(), 20)
    assert keeper.deadline() == 31
    assert keeper.settle(30.9) == (at(1),)
    assert keeper.settle(31) == ()


def test_what_comes_back_meanwhile_ends_the_doubt():
    keeper = Keeper(LIMITS, (at(1),))
    keeper.take(found(), 1)
    keeper.take(found(at(2)), 20)
    assert keeper.settle(20) == (at(2),)
    keeper.take(found(), 40)
    assert keeper.settle(60) == (at(2),)


def test_who_left_by_its_own_word_is_not_kept():
    keeper = Keeper(LIMITS, (at(1), at(2)))
    keeper.take(found(left=[at(1)]), 1)
    assert keeper.settle(1) == (at(2),)
    keeper.take(found(left=[at(1), at(2)]), 2)
    assert keeper.settle(2) == ()


def test_one_that_comes_and_goes_waits_longer_each_time():
    keeper = Keeper(LIMITS)
    now = flapping(keeper, 2)
    assert at(1) in keeper.settle(now)
    now = flapping(keeper, 1, now)
    assert keeper.settle(now) == (at(2),)
    due = keeper.deadline()
    assert 0.9 < due - now < 1.0
    assert keeper.settle(due) == (at(1), at(2))
    now = flapping(keeper, 1, due)
    assert 1.9 < keeper.deadline() - now < 2.0


def test_a_wait_ends_and_flaps_are_forgotten():
    keeper = Keeper(LIMITS)
    now = flapping(keeper, 12)
    assert keeper.deadline() - now <= 8
    keeper.settle(keeper.deadline())
    now = flapping(keeper, 1, now + 100)
    assert at(1) in keeper.settle(now)


def test_the_only_one_there_is_never_waits():
    keeper = Keeper(LIMITS)
    flapping(keeper, 5)
    keeper.take(found(at(1)), 1)
    assert keeper.settle(1) == (at(1),)


def test_a_bad_turn_is_seen_at_once_and_a_good_one_may_wait():
    keeper = Keeper(LIMITS)
    now = flapping(keeper, 2)
    keeper.take(found(at(1, Health.UNHEALTHY), at(2)), now)
    assert keeper.settle(now) == (at(1, Health.UNHEALTHY), at(2))
    keeper.take(found(at(1), at(2)), now)
    assert keeper.settle(now) == (at(1, Health.UNHEALTHY), at(2))
    assert keeper.settle(keeper.deadline()) == (at(1), at(2))


def test_more_than_the_most_are_left_out_in_order():
    keeper = Keeper(LIMITS)
    many = [Endpoint(address="10.0.0.1", port=1 + n) for n in range(ENDPOINTS_MAX + 5)]
    keeper.take(found(*many), 0)
    assert keeper.dropped == 5
    assert keeper.settle(0) == tuple(many[:ENDPOINTS_MAX])


ENDPOINTS = st.builds(at, st.integers(1, 4), st.sampled_from(list(Health)))
ANSWERS = st.lists(ENDPOINTS, max_size=4, unique_by=lambda one: one.address)


@given(st.lists(st.tuples(ANSWERS, st.floats(0, 40)), max_size=30))
def test_removals_never_wait_and_nothing_is_invented(steps):
    keeper = Keeper(LIMITS)
    now, last = 0.0, ()
    for answer, pause in steps:
        now += pause
        keeper.take(found(*answer), now)
        shown = keeper.settle(now)
        places = {one.address for one in answer}
        usable = {one.address for one in answer if one.health is Health.HEALTHY}
        if answer:
            assert {one.address for one in shown} <= places
            assert {one.address for one in shown if one.health is Health.HEALTHY} <= usable
            assert not usable or any(one.health is Health.HEALTHY for one in shown)
        else:
            assert shown in ((), last)
        last = shown
    final = tuple(last)
    keeper.take(found(at(1), at(2)), now + 1)
    keeper.settle(now + 1)
    assert keeper.settle(now + 1000) == (at(1), at(2)), final
    assert keeper.deadline() is None


def test_a_change_that_is_none_of_health_is_seen_while_waiting():
    keeper = Keeper(LIMITS)
    now = flapping(keeper, 2)
    keeper.take(found(at(1, Health.DRAINING), at(2)), now)
    keeper.settle(now)
    heavy = dataclasses.replace(at(1), weight=9)
    keeper.take(found(heavy, at(2)), now)
    shown = keeper.settle(now)
    assert shown[0] == dataclasses.replace(heavy, health=Health.DRAINING)
