"""How a quota is divided: never more than there is, nobody starves, and little moves."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.limits.allocator import FLOOR, HYSTERESIS, LEAST, Bucket, Part, divide
from gateway.limits.envoy_quirks import TTL_S


EDGES = st.sampled_from(["edge/0", "edge/1", "edge/2", "edge/3"])
RATES = st.floats(0.01, 1e6)
DEMANDS = st.dictionaries(EDGES, st.none() | st.floats(0, 1e7), min_size=1)
ENOUGH = 1 + 1e-9


@given(RATES, DEMANDS)
def test_the_shares_come_to_the_whole(rate, demands):
    assert sum(divide(rate, demands).values()) == pytest.approx(rate)


@given(RATES, DEMANDS)
def test_nobody_gets_less_than_it_wants_or_an_even_share(rate, demands):
    shares = divide(rate, demands)
    even = rate / len(demands)
    for edge, demand in demands.items():
        wanted = even if demand is None else max(demand, even * FLOOR)
        assert shares[edge] * ENOUGH >= min(wanted, even)


@given(RATES, DEMANDS)
def test_who_gets_less_than_it_wants_has_no_less_than_anybody(rate, demands):
    shares = divide(rate, demands)
    for edge, demand in demands.items():
        if demand is not None and shares[edge] * ENOUGH < demand:
            assert all(shares[edge] * ENOUGH >= other for other in shares.values())


def test_demand_of_80_and_20_percent_is_served_but_for_the_headroom():
    shares = divide(2000.0, {"a": 2400.0, "b": 300.0, "c": 300.0})
    assert shares == pytest.approx({"a": 1370.0, "b": 315.0, "c": 315.0})


class Edges(RuleBasedStateMachine):
    """Edges that come, report, are cut off and come back, in any order."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.bucket = Bucket(rate=100.0)

    @rule(edge=EDGES, calls=st.integers(0, 5000), pause=st.floats(0, 10))
    def report(self, edge, calls, pause):
        self.now += pause
        part = self.bucket.parts.setdefault(edge, Part(reported_at=self.now))
        part.connected = True
        part.take(calls, 0, self.now)
        self.bucket.forget(self.now)
        before = {name: one.assigned for name, one in self.bucket.parts.items()}
        told = self.bucket.rebalance()
        for name, one in self.bucket.parts.items():
            assert (one.assigned != before[name]) == (name in told)
        for name in {edge, *told}:
            self.bucket.parts[name].expires_at = self.now + TTL_S
        self.nobody_starves()

    def nobody_starves(self):
        parts = self.bucket.parts.values()
        kept = sum(one.assigned for one in parts if not one.connected)
        reachable = [one for one in parts if one.connected]
        even = max(100.0 - kept, 100.0 * LEAST) / len(reachable)
        for one in reachable:
            assert one.assigned * ENOUGH >= even * FLOOR * (1 - HYSTERESIS)

    @precondition(lambda self: self.bucket.parts)
    @rule(chance=st.randoms())
    def cut_off(self, chance):
        chance.choice(sorted(self.bucket.parts.items()))[1].connected = False

    @rule(pause=st.floats(0, 3 * TTL_S))
    def time_passes(self, pause):
        self.now += pause
        self.bucket.forget(self.now)

    @invariant()
    def never_more_than_there_is(self):
        parts = self.bucket.parts.values()
        lost = sum(not one.connected for one in parts)
        assert sum(one.assigned for one in parts) <= 100.0 * (1 + LEAST * lost) * ENOUGH


TestEdges = Edges.TestCase
TestEdges.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_share_that_would_hardly_change_stays_as_it_is():
    bucket = Bucket(rate=1000.0)
    now = 0.0
    for edge in ("a", "b"):
        bucket.parts[edge] = Part(reported_at=now)
    bucket.rebalance()
    before = bucket.parts["a"].assigned
    now += 5
    for edge in ("a", "b"):
        bucket.parts[edge].take(2500 if edge == "a" else 2600, 0, now)
    assert bucket.rebalance() == []
    assert bucket.parts["a"].assigned == before


def test_an_edge_that_cannot_be_reached_keeps_its_part_until_it_ends():
    bucket = Bucket(rate=90.0)
    for edge in ("a", "b", "c"):
        bucket.parts[edge] = Part(reported_at=0.0, expires_at=TTL_S)
    bucket.rebalance()
    bucket.parts["c"].connected = False
    bucket.parts["a"].take(5000, 0, 5.0)
    bucket.rebalance()
    assert sum(bucket.parts[edge].assigned for edge in ("a", "b")) == pytest.approx(60.0)
    bucket.forget(TTL_S)
    bucket.rebalance()
    assert sum(part.assigned for part in bucket.parts.values()) == pytest.approx(90.0)


def test_a_new_edge_gets_its_share_from_many_at_once():
    bucket = Bucket(rate=2000.0)
    for number in range(30):
        bucket.parts[f"edge/{number}"] = Part(reported_at=0.0)
        bucket.rebalance()
    assert bucket.parts["edge/29"].assigned > (1 - HYSTERESIS) * 2000.0 / 31
