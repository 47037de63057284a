"""A trace's spans in the order of its tree."""

from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.query.traces import depth_first
from telemetry.store.model import Span


def span(number, parent=0, start=0):
    return Span(
        trace_id=b"t" * 16,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=str(number),
        service="s",
        instance="0",
        kind=1,
        start_ns=start,
        duration_ns=1,
        status=0,
        status_message="",
        trace_state="",
        scope="",
        attributes={},
        resource={},
        events=(),
        links=(),
    )


def order(*spans):
    return [(depth, one.name) for depth, one in depth_first(spans)]


def test_parents_come_before_children_and_siblings_by_start():
    found = order(span(3, 1, start=9), span(2, 1, start=5), span(4, 2, start=7), span(1, start=1))
    assert found == [(0, "1"), (1, "2"), (2, "4"), (1, "3")]


def test_a_span_whose_parent_is_unknown_is_a_root():
    assert order(span(2, 99, start=5), span(1, start=1)) == [(0, "1"), (0, "2")]


def test_a_ring_of_parents_is_entered_at_its_earliest():
    assert order(span(1, 2, start=3), span(2, 1, start=1)) == [(0, "2"), (1, "1")]


def test_a_span_that_is_its_own_parent_is_a_root():
    assert order(span(1, 1)) == [(0, "1")]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=12))
def test_every_span_comes_exactly_once(links):
    spans = [span(i + 1, parent, start) for i, (parent, start) in enumerate(links)]
    names = [one.name for _, one in depth_first(spans)]
    assert sorted(names) == sorted(one.name for one in spans)
