"""Whatever happens to devices and their connections, afterwards all have the same, and nothing is lost."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.scenarios.syncd.days import DEVICES, random_day, run


AGREED_AFTER_OVERTAKING = [
    (1, ("set", "UA2", "gate", "A1")),
    (1, ("exchange",)),
    (2, ("exchange",)),
    (2, ("crash",)),
    (2, ("set", "UA2", "gate", "B2")),
    (2, ("set", "UA2", "gate", "A1")),
    (1, ("time", 1_500)),
    (2, ("push_beside", 1)),
    (0, ("set", "UA2", "gate", "A1")),
]
"""The device that agrees must not make the older write, which comes last, look new."""

REMOVAL_APART_FROM_WHAT_IT_LEFT = [
    (0, ("delete", "UA1")),
    (1, ("set", "UA1", "gate", "B2")),
    (2, ("exchange",)),
    (0, ("set", "UA1", "gate", "A1")),
    (0, ("set", "UA1", "gate", "B2")),
    (1, ("exchange",)),
    (2, ("feed", 2)),
    (0, ("push_beside", 1)),
    (0, ("exchange",)),
    (2, ("feed", 2)),
]
"""A removal comes late, and a page ends between it and the cell that outlives it."""

records = st.sampled_from(["UA1", "UA2"])
texts = st.sampled_from(["A1", "B2", "C3"])
small = st.integers(0, 7)

actions = st.one_of(
    st.tuples(st.just("set"), records, st.sampled_from(["gate", "status"]), texts),
    st.tuples(st.just("delete"), records),
    st.tuples(st.just("several"), records, texts),
    st.tuples(st.just("connect")),
    st.tuples(st.just("cut")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("up")),
    st.tuples(st.just("down")),
    st.tuples(st.just("feed"), small),
    st.tuples(st.just("exchange")),
    st.tuples(st.just("repeat_push"), small),
    st.tuples(st.just("repeat_frame"), small),
    st.tuples(st.just("push_beside"), small),
    st.tuples(st.just("clock"), st.integers(-(10**11), 10**11)),
    st.tuples(st.just("time"), st.integers(1, 10_000)),
)


@pytest.mark.parametrize("seed", range(6))  # more of them in the long suites
def test_a_long_random_day_ends_in_step(seed):
    random_day(seed)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, DEVICES - 1), actions), max_size=80))
@example([(0, ("set", "UA1", "gate", "A1")), (0, ("exchange",)), (0, ("repeat_push", 0))])
@example(AGREED_AFTER_OVERTAKING)
@example(REMOVAL_APART_FROM_WHAT_IT_LEFT)
def test_all_devices_come_into_step_and_nothing_is_lost_or_doubled(script):
    run(script)
