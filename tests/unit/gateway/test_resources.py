"""States of resources know what differs from those before them."""

import hypothesis.strategies as st
from hypothesis import given

from gateway.xds import resources
from gateway.xds.resources import NO_RESOURCES, Resource, Resources, Snapshot, since


NAMES = "abcd"
CHANGE = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["1", "2", None]))


@given(st.lists(CHANGE, max_size=8), st.data())
def test_since_tells_every_name_that_differs(changes, data):
    states = [NO_RESOURCES]
    for change in changes:
        made = {n: Resource(n, v) if v else None for n, v in change.items()}
        states.append(states[-1].with_changes(made))
    earlier = data.draw(st.sampled_from(states))
    now = states[-1]
    differing = {name for name in NAMES if now.get(name) != earlier.get(name)}
    assert differing <= set(since(now, earlier))


def test_a_change_leaves_the_state_before_as_it_was():
    before = NO_RESOURCES.with_changes({"a": Resource("a", "1")})
    before.with_changes({"a": None, "b": Resource("b", "1")})
    assert before == {"a": Resource("a", "1")}


def test_what_is_long_ago_or_has_no_common_past_is_unknown():
    first = now = Resources()
    for number in range(resources.STATES_REMEMBERED + 1):
        assert since(now, first) is not None
        now = now.with_changes({f"{number}": Resource(f"{number}", "1")})
    assert since(now, first) is None
    assert since(now, Resources(now)) is None
    assert since(now, None) is None


def test_a_snapshot_shares_the_types_that_a_change_does_not_touch():
    one = Resource("a", "1")
    before = Snapshot().changed(1, [("CDS", one), ("EDS", one)])
    after = before.changed(2, [("CDS", one), ("EDS", Resource("a", "2"))], [("RDS", "none")])
    assert after.resources["CDS"] is before.resources["CDS"]
    assert after.resources["EDS"] == {"a": Resource("a", "2")}
    assert before.changed(3, [("CDS", one)], [("CDS", "a")]).resources["CDS"] == {"a": one}
