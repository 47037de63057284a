import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl import order


NEEDS = {
    "postgres": (),
    "nats": ("gateway",),
    "gateway": ("postgres",),
    "notifier": ("gateway", "postgres"),
    "demo": ("notifier",),
}


@st.composite
def acyclic(draw):
    names = [f"p{n}" for n in range(draw(st.integers(1, 8)))]
    return {
        name: tuple(draw(st.lists(st.sampled_from(names[:n]), unique=True)) if n else ())
        for n, name in enumerate(names)
    }


def test_what_needs_nothing_starts_at_once_and_together():
    assert order.startable(NEEDS, set()) == {"postgres"}
    assert order.startable(NEEDS, {"postgres", "gateway"}) >= {"nats", "notifier"}


def test_nothing_stops_before_what_calls_it():
    assert order.stoppable(NEEDS, set(NEEDS)) == {"demo", "nats"}
    assert order.stoppable(NEEDS, {"postgres", "gateway"}) == {"gateway"}
    assert order.stoppable(NEEDS, {"postgres"}) == {"postgres"}


def test_needing_one_another_is_refused_by_name():
    with pytest.raises(ValueError, match="these need one another: a, b"):
        order.check({"a": ("b",), "b": ("a",), "c": ()})


def test_needing_what_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match="a needs b, which doesn't exist"):
        order.check({"a": ("b",)})


def test_the_longest_stop_is_the_longest_chain_not_the_sum():
    seconds = {"postgres": 1.0, "nats": 0.5, "gateway": 1.0, "notifier": 2.0, "demo": 1.0}

    assert order.longest_stop_s(NEEDS, seconds) == 5.0


@given(acyclic())
def test_everything_starts_and_stops_in_the_end(needs):
    order.check(needs)
    ready = set()
    while more := order.startable(needs, ready) - ready:
        ready |= more
    running = set(needs)
    while running:
        ended = order.stoppable(needs, running)
        assert ended
        running -= ended

    assert ready == set(needs)
