"""The critical path and self times, by hand and against a slow definition."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from telemetry.store.model import Span
from telemetry.traces.critical import times


def span(name, start, end, parent="", *, kind=1, service="s"):
    return Span(
        trace_id=b"t" * 16,
        span_id=name.encode(),
        parent_span_id=parent.encode(),
        name=name,
        service=service,
        instance="0",
        kind=kind,
        start_ns=start,
        duration_ns=end - start,
        status=0,
        status_message="",
        trace_state="",
        scope="",
        attributes={},
        resource={},
        events=(),
        links=(),
    )


def path(*spans):
    return [(one.span_id.decode(), one.start_ns, one.end_ns) for one in times(spans).path]


def test_a_span_alone_is_its_own_path():
    assert path(span("root", 5, 9)) == [("root", 5, 9)]


def test_of_children_side_by_side_the_one_that_ended_last_was_waited_for():
    found = path(span("root", 0, 100), span("a", 10, 60, "root"), span("b", 20, 90, "root"))
    assert found == [("root", 0, 20), ("b", 20, 90), ("root", 90, 100)]


def test_children_one_after_the_other_are_all_on_the_path():
    found = path(
        span("root", 0, 100),
        span("a", 10, 40, "root"),
        span("b", 40, 90, "root"),
        span("b1", 50, 90, "b"),
    )
    assert found == [
        ("root", 0, 10),
        ("a", 10, 40),
        ("b", 40, 50),
        ("b1", 50, 90),
        ("root", 90, 100),
    ]


def test_what_outlives_its_parent_was_not_waited_for():
    assert path(span("root", 0, 50), span("late", 10, 80, "root")) == [("root", 0, 50)]


def test_nobody_waits_for_the_consumer_of_a_message():
    assert path(span("root", 0, 50), span("reads", 10, 40, "root", kind=5)) == [("root", 0, 50)]


def test_a_span_that_began_before_its_parent_counts_from_then_on():
    assert path(span("root", 10, 50), span("early", 0, 30, "root")) == [
        ("early", 10, 30),
        ("root", 30, 50),
    ]


def test_a_server_whose_clock_differs_is_moved_into_the_call_with_all_below_it():
    found = times(
        [
            span("call", 0, 100, kind=3),
            span("serve", 1000, 1080, "call", kind=2, service="other"),
            span("work", 1020, 1060, "serve", service="other"),
        ]
    )
    assert found.shift_ns == {b"call": 0, b"serve": -990, b"work": -990}
    assert [(one.span_id.decode(), one.start_ns, one.end_ns) for one in found.path] == [
        ("call", 0, 10),
        ("serve", 10, 30),
        ("work", 30, 70),
        ("serve", 70, 90),
        ("call", 90, 100),
    ]


def test_own_time_is_that_in_which_no_child_ran():
    found = times(
        [
            span("root", 0, 100),
            span("a", 10, 60, "root"),
            span("b", 50, 90, "root"),
            span("c", 95, 120, "root"),
        ]
    )
    assert found.self_ns == {b"root": 15, b"a": 50, b"b": 40, b"c": 25}


def test_a_ring_of_parents_and_a_missing_one_have_paths():
    assert path(span("a", 0, 10, "b"), span("b", 2, 8, "a"))[0][1] == 0
    assert path(span("orphan", 3, 9, "lost")) == [("orphan", 3, 9)]
    assert path(span("early", 1, 9, "lost"), span("root", 3, 9)) == [("root", 3, 9)]


def test_a_trace_may_be_as_deep_as_it_is_long():
    chain = [span(f"{i:05}", i, 20_000 - i, f"{i - 1:05}" if i else "") for i in range(9_999)]
    assert len(path(*chain)) == 2 * 9_999 - 1


@st.composite
def trees(draw):
    spans = [span("0", 0, draw(st.integers(1, 40)))]
    for number in range(1, draw(st.integers(1, 9))):
        start = draw(st.integers(-3, 40))
        parent = str(draw(st.integers(0, number - 1)))
        kind = draw(st.sampled_from([1, 1, 1, 5]))
        end = start + draw(st.integers(0, 30))
        spans.append(span(str(number), start, end, parent, kind=kind))
    return spans


def waited(spans, one, lower, upper):
    """Yield (span, tick) of each tick of *one* from *upper* down to *lower*."""
    children = [
        c for c in spans if c.parent_span_id == one.span_id and c.kind != 5 and c.duration_ns
    ]
    now = upper
    while now > lower:
        ended = [c for c in children if c.start_ns + c.duration_ns == now]
        if ended:
            child = min(ended, key=lambda c: c.start_ns)
            start = max(child.start_ns, lower)
            yield from waited(spans, child, start, now)
            now = start
        else:
            now -= 1
            yield one.name, now


@given(trees())
def test_the_path_is_what_is_waited_for_at_each_instant(spans):
    root = spans[0]
    by_tick = {tick: name for name, tick in waited(spans, root, 0, root.duration_ns)}
    found = path(*spans)
    assert found[0][1] == 0
    assert found[-1][2] == root.duration_ns
    assert all(a[2] == b[1] for a, b in itertools.pairwise(found))
    assert {t: name for name, start, end in found for t in range(start, end)} == by_tick
    assert sum(times(spans).critical_ns.values()) == root.duration_ns
