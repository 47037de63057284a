import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.dashboards.watched import Watched
from telemetry.promql.engine import Series
from telemetry.promql.labels import make


def series(name, **points):
    ts = sorted(int(at.removeprefix("t")) for at in points)
    return Series(
        labels=make({"__name__": name}),
        ts=np.array(ts, np.int64),
        values=np.array([points[f"t{at}"] for at in ts], np.float64),
    )


@pytest.fixture
def watched():
    return Watched(step_ms=10, range_ms=40, cells_max=100)


def told(points):
    return {
        dict(one.labels)["__name__"]: dict(zip(one.ts.tolist(), one.values.tolist(), strict=True))
        for one in points
    }


def test_the_whole_window_is_asked_for_first_and_then_what_is_new_or_unsettled(watched):
    assert watched.span(105, 20) == (60, 100)
    watched.apply([], 100)

    assert watched.span(125, 20) == (80, 120)
    assert watched.span(300, 20) == (260, 300)


def test_only_what_is_new_is_told(watched):
    watched.apply([series("a", t90=1, t100=2)], 100)
    seen = watched.version
    watched.apply([series("a", t90=1, t100=2, t110=3)], 110)

    assert told(watched.since(0)) == {"a": {90: 1, 100: 2, 110: 3}}
    assert told(watched.since(seen)) == {"a": {110: 3}}


def test_a_late_sample_replaces_the_point_it_changes(watched):
    watched.apply([series("a", t90=1, t100=2)], 100)
    seen = watched.version
    watched.apply([series("a", t90=1, t100=7, t110=3)], 110)

    assert told(watched.since(seen)) == {"a": {100: 7, 110: 3}}


def test_nothing_new_is_no_version(watched):
    watched.apply([series("a", t90=1, t100=np.nan)], 100)
    seen = watched.version
    watched.apply([series("a", t90=1, t100=np.nan)], 100)

    assert watched.version == seen


def test_what_the_window_has_left_is_forgotten_with_its_series(watched):
    watched.apply([series("a", t60=1), series("b", t100=2)], 100)
    watched.apply([series("b", t110=3)], 110)

    assert told(watched.since(0)) == {"b": {100: 2, 110: 3}}


def test_series_beyond_the_bound_are_left_out_and_that_is_said():
    small = Watched(step_ms=10, range_ms=40, cells_max=5)

    assert small.apply([series("a", t100=1)], 100)
    assert not small.apply([series("a", t100=1), series("b", t100=1)], 100)
    assert set(told(small.since(0))) == {"a"}


def test_the_newest_is_told_once(watched):
    watched.apply([], 100)
    watched.apply_newest([series("a", t105=1)])
    version = watched.version
    watched.apply_newest([series("a", t106=1)])

    assert watched.version == version
    assert told(watched.newest) == {"a": {106: 1}}


def test_a_problem_is_news_once_and_goes_with_an_answer(watched):
    watched.fail("away")
    version = watched.version
    watched.fail("away")
    assert (watched.version, watched.problem) == (version, "away")

    watched.apply([], 100)
    assert watched.problem == ""
    assert watched.version > version


@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),
            st.dictionaries(
                st.sampled_from("abc"), st.dictionaries(st.integers(0, 6), st.integers(0, 3))
            ),
        ),
        max_size=12,
    )
)
def test_a_follower_that_puts_news_together_has_what_a_newcomer_is_told(rounds):
    """Whatever is applied, and however late points come or change."""
    watched = Watched(step_ms=10, range_ms=60, cells_max=1000)
    followed: dict[str, dict[int, float]] = {}
    seen, last = 0, 100
    for ahead, found in rounds:
        last += 10 * ahead
        batch = [
            series(name, **{f"t{last - 10 * back}": float(value) for back, value in points.items()})
            for name, points in found.items()
        ]
        watched.apply(batch, last)
        for name, points in told(watched.since(seen)).items():
            followed.setdefault(name, {}).update(points)
        seen = watched.version

    kept = {
        name: {at: value for at, value in points.items() if at >= last - 60}
        for name, points in followed.items()
    }
    assert told(watched.since(0)) == {name: points for name, points in kept.items() if points}
