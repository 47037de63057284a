"""The cell rate algorithm against what it must never do, and against a plain token bucket."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from meshkit.gcra import NS, Gcra


LIMITS = st.builds(
    Gcra,
    requests=st.integers(1, 1000),
    interval_ns=st.integers(1, 24 * 3600).map(lambda seconds: seconds * NS),
    burst=st.integers(1, 1000),
)
CALLS = st.lists(st.tuples(st.integers(0, 10 * NS), st.integers(1, 5)), max_size=60)


@given(LIMITS, CALLS)
def test_in_no_while_is_more_let_through_than_the_rate_and_one_burst(limit, calls):
    state, now, allowed = 0, 10**15, []
    for pause, cost in calls:
        now += pause
        decision = limit.decide(state, now, cost)
        state = decision.state
        if decision.allowed:
            allowed.append((now, cost))
    for first in range(len(allowed)):
        spent = 0
        for at, cost in allowed[first:]:
            spent += cost
            elapsed = at - allowed[first][0]
            assert (spent - limit.burst) * limit.interval_ns <= elapsed * limit.requests


@given(LIMITS, CALLS)
def test_it_decides_as_a_bucket_that_is_filled_steadily(limit, calls):
    # In parts of a call so small that nothing is rounded.
    unit = limit.interval_ns
    tokens, at, state, now = limit.burst * unit, 10**15, 0, 10**15
    for pause, cost in calls:
        now += pause
        tokens, at = min(limit.burst * unit, tokens + (now - at) * limit.requests), now
        fits = tokens >= cost * unit
        decision = limit.decide(state, now, cost)
        assert decision.allowed == fits
        if fits:
            tokens -= cost * unit
        assert decision.remaining == tokens // unit
        state = decision.state


@given(LIMITS, CALLS)
def test_whoever_waits_as_told_is_let_through(limit, calls):
    state, now = 0, 10**15
    for pause, cost in calls:
        now += pause
        decision = limit.decide(state, now, cost)
        state = decision.state
        if not decision.allowed and cost <= limit.burst:
            early = limit.decide(state, now + decision.retry_after_ns - 1, cost)
            assert not early.allowed
            now += decision.retry_after_ns
            assert limit.decide(state, now, cost).allowed


@pytest.mark.parametrize("burst", [1, 100])
def test_a_hundred_of_two_thousand_at_once(burst):
    limit, state, allowed = Gcra(100, 60 * NS, burst), 0, 0
    for number in range(2000):
        decision = limit.decide(state, 10**15 + number, 1)
        state, allowed = decision.state, allowed + decision.allowed
    assert allowed == burst


def test_an_idle_bucket_is_as_good_as_a_new_one():
    limit = Gcra(3, NS, 2)
    state = limit.decide(0, 5 * NS).state
    assert limit.decide(state, limit.idle_at_ns(state), 2).allowed
