"""Clusters that nothing points at any more stay for a while."""

from gateway.changes.linger import Lingering
from gateway.xds.resources import BY_KEY, Snapshot, resource


A, B = resource("a", b"a"), resource("b", b"b")
BOTH = Snapshot().changed(1, [("CDS", A), ("CDS", B), ("EDS", A), ("RDS", A)])
ONE = BOTH.changed(2, (), [("CDS", "a"), ("EDS", "a"), ("RDS", "a")])


def names(snapshot, key):
    return sorted(snapshot.of(BY_KEY[key]))


def test_what_goes_stays_for_the_given_time():
    lingering = Lingering(5)
    assert lingering.over(BOTH, 10) is BOTH
    assert lingering.deadline() is None
    over = lingering.over(ONE, 11)
    assert (names(over, "CDS"), names(over, "EDS")) == (["a", "b"], ["a"])
    assert over.of(BY_KEY["CDS"])["a"] == A
    assert (over.revision, lingering.deadline()) == (2, 16)
    assert lingering.over(ONE, 16) is ONE
    assert lingering.deadline() is None


def test_routes_go_at_once():
    lingering = Lingering(5)
    lingering.over(BOTH, 0)
    assert names(lingering.over(ONE, 1), "RDS") == []


def test_each_has_a_time_of_its_own():
    lingering = Lingering(5)
    lingering.over(BOTH, 0)
    lingering.over(ONE, 1)
    none = ONE.changed(3, (), [("CDS", "b")])
    assert names(lingering.over(none, 3), "CDS") == ["a", "b"]
    assert names(lingering.over(none, 6), "CDS") == ["b"]
    assert names(lingering.over(none, 8), "CDS") == []


def test_what_comes_back_is_what_it_is_now():
    lingering = Lingering(5)
    lingering.over(BOTH, 0)
    lingering.over(ONE, 1)
    new = resource("a", b"new")
    back = ONE.changed(3, [("CDS", new)])
    over = lingering.over(back, 2)
    assert over.of(BY_KEY["CDS"])["a"] == new
    assert names(over, "EDS") == ["a"]
