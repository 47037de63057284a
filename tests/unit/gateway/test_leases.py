"""Who keeps a lease, as one gateway has heard it."""

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.sources.leases import UNHELD, Leases


def test_a_stream_that_breaks_ends_its_leases_a_second_later():
    leases = Leases(1.0)
    leases.heard(["a", "b"], "one")
    leases.broken(["a", "b"], "one", 10.0)
    assert leases.ends(10.9) == []
    assert leases.deadline() == 11.0
    assert leases.ends(11.0) == [("a", "one"), ("b", "one")]
    leases.ended(leases.ends(11.0))
    assert leases.deadline() is None


def test_another_stream_takes_them_up():
    leases = Leases(1.0)
    leases.heard(["a", "b"], "one")
    leases.broken(["a", "b"], "one", 10.0)
    leases.heard(["a"], "two")
    leases.heard(["b"])
    assert leases.ends(20.0) == []
    assert leases.renewals() == [("a", "two"), ("b", UNHELD)]


def test_the_end_of_an_old_stream_ends_nothing_of_the_new_one():
    leases = Leases(1.0)
    leases.heard(["a"], "one")
    leases.heard(["a"], "two")
    leases.broken(["a"], "one", 10.0)
    leases.dropped(["a"], "one")
    assert leases.deadline() is None
    assert leases.renewals() == [("a", "two")]


def test_what_a_stream_names_no_longer_runs_out_by_itself():
    leases = Leases(1.0)
    leases.heard(["a"], "one")
    leases.dropped(["a"], "one")
    leases.broken(["a"], "one", 10.0)
    assert leases.ends(99.0) == []
    assert leases.renewals() == [("a", UNHELD)]


def test_what_could_not_be_written_is_written_later_and_never_over_newer_news():
    leases = Leases(1.0)
    leases.heard(["a", "b"], "one")
    lost = leases.renewals()
    leases.heard(["a"], "two")
    leases.unwritten(lost)
    assert leases.renewals() == [("a", "two"), ("b", "one")]


class Life(RuleBasedStateMachine):
    """Against the simplest account of it: by lease, who holds it, or since when nobody does."""

    NAMES = st.sampled_from("abc")
    HOLDERS = st.sampled_from(["one", "two"])

    def __init__(self):
        super().__init__()
        self.leases = Leases(1.0)
        self.now = 0.0
        self.held = {}
        self.orphans = {}

    @rule(name=NAMES, holder=st.sampled_from(["one", "two", UNHELD]))
    def heard(self, name, holder):
        self.leases.heard([name], holder)
        self.held[name] = holder
        self.orphans.pop(name, None)

    @rule(name=NAMES, holder=HOLDERS)
    def broken(self, name, holder):
        self.leases.broken([name], holder, self.now)
        if self.held.get(name) == holder:
            del self.held[name]
            self.orphans[name] = (holder, self.now + 1.0)

    @rule(name=NAMES)
    def gone(self, name):
        self.leases.forget(name)
        self.held.pop(name, None)
        self.orphans.pop(name, None)

    @rule(seconds=st.floats(0, 0.7))
    def later(self, seconds):
        self.now += seconds

    @invariant()
    def only_orphans_end_and_in_time(self):
        due = {(name, who) for name, (who, when) in self.orphans.items() if when <= self.now}
        assert set(self.leases.ends(self.now)) == due


TestLife = Life.TestCase
