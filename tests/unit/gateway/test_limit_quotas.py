"""Buckets of quotas: what edges are told, and how Envoy's quirks are gone around."""

from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway import model
from gateway.limits.envoy_quirks import ALLOW, DENY, TTL_S, strategy, token_bucket, told_apart
from gateway.limits.quotas import IDLE_S, Quotas, Usage
from gateway.limits.reach import Reach, edition, reach_of


LIMIT = model.Limit(name="limits/calls", strength=model.Strength.QUOTA, requests=1000, burst=100)
BUCKET = (("edition", edition(LIMIT)), ("limit", LIMIT.name))


def quotas(limit=LIMIT):
    return Quotas({limit.name: limit}.get)


def usage(allowed=1, refused=0, bucket=BUCKET):
    return Usage(bucket=bucket, allowed=allowed, refused=refused)


@given(st.floats(1e-7, 1e9), st.floats(0, 1e9))
def test_a_bucket_for_envoy_has_whole_seconds_and_nearly_the_rate(rate, burst):
    made = token_bucket(rate, burst)
    seconds = made["fill_interval"] / timedelta(seconds=1)
    assert seconds == int(seconds) >= 1
    told = made["tokens_per_fill"]["value"] / seconds
    assert rate * 0.98 <= told * (1 + 1e-9)
    assert told <= rate * (1 + 1e-9)
    assert made["max_tokens"] >= 1


def test_a_bucket_that_only_fills_faster_differs_in_its_burst_too():
    slow = {"token_bucket": {"max_tokens": 5, "tokens_per_fill": {"value": 50}}}
    slow["token_bucket"]["fill_interval"] = timedelta(seconds=60)
    fast = {"token_bucket": {**slow["token_bucket"], "fill_interval": timedelta(seconds=1)}}
    told = told_apart(fast, slow)
    assert told["token_bucket"]["max_tokens"] == 4
    assert told_apart(fast, told) is told


def test_no_share_is_a_refusal_of_everything():
    assert strategy(0.0, 10) == DENY


def test_an_edge_alone_gets_everything_and_hears_so_each_time():
    held = quotas()
    first = held.report("edge/0", [usage()], 100.0)
    again = held.report("edge/0", [usage(5000)], 105.0)
    assert first == again
    (action,) = first["edge/0"]
    assert action.strategy["token_bucket"]["max_tokens"] == 100
    assert action.strategy["token_bucket"]["tokens_per_fill"] == {"value": 1000}


def test_a_second_edge_takes_from_the_first_which_is_told_at_once():
    held = quotas()
    held.report("edge/0", [usage()], 100.0)
    told = held.report("edge/1", [usage()], 101.0)
    assert set(told) == {"edge/0", "edge/1"}
    for actions in told.values():
        assert actions[0].strategy["token_bucket"]["tokens_per_fill"] == {"value": 500}


def test_an_idle_bucket_is_abandoned():
    held = quotas()
    held.report("edge/0", [usage()], 100.0)
    (kept,) = held.report("edge/0", [usage(0)], 100.0 + IDLE_S)["edge/0"]
    assert kept.strategy is not None
    (dropped,) = held.report("edge/0", [usage(0)], 101.0 + IDLE_S)["edge/0"]
    assert dropped.strategy is None
    assert len(held) == 0


@pytest.mark.parametrize(
    "bucket",
    [
        (("edition", "old"), ("limit", LIMIT.name)),
        (("edition", edition(LIMIT)), ("limit", "limits/gone")),
        (("something", "else"),),
    ],
)
def test_what_is_of_no_quota_there_is_now_is_abandoned(bucket):
    (action,) = quotas().report("edge/0", [usage(bucket=bucket)], 100.0)["edge/0"]
    assert action.strategy is None


def test_a_lost_edge_is_forgotten_when_its_assignment_has_ended():
    held = quotas()
    held.report("edge/0", [usage()], 100.0)
    held.gone("edge/0")
    held.tick(100.0 + TTL_S - 1)
    assert len(held) == 1
    held.tick(100.0 + TTL_S)
    assert len(held) == 0


def test_in_shadow_mode_everything_is_allowed_and_what_exceeds_is_counted():
    shadow = model.Limit(
        name="limits/calls", strength=model.Strength.QUOTA, requests=10, burst=20, shadow=True
    )
    bucket = (("edition", edition(shadow)), ("limit", shadow.name))
    held = quotas(shadow)
    held.report("edge/0", [usage(1, bucket=bucket)], 100.0)
    (action,) = held.report("edge/0", [usage(100, bucket=bucket)], 105.0)["edge/0"]
    assert action.strategy == ALLOW
    ((_, _, divided),) = held.buckets()
    part = divided.parts["edge/0"]
    assert part.refused == 80  # The burst is counted from the first report that can exceed.
    assert part.allowed == 21


def test_no_call_is_in_a_reach_twice():
    service = model.Service(name="services/a", identity="a", grpc_services=("x.A", "x.B"))
    scope = model.CallScope(services=("services/a",), grpc_services=("x.A",), methods=("x.A/M",))
    limit = model.Limit(name="limits/l", strength=model.Strength.LOCAL, requests=1, scope=scope)
    catalog = model.Catalog.of(1, (service, limit))
    assert reach_of(limit, catalog) == Reach(everything=False, grpc_services=("x.A", "x.B"))


def test_reaches_meet_where_one_call_is_in_both():
    everything = Reach(everything=True)
    service = Reach(everything=False, grpc_services=("x.A",))
    method = Reach(everything=False, methods=("x.A/M",))
    other = Reach(everything=False, methods=("x.A/N",))
    assert everything.meets(other)
    assert service.meets(method)
    assert method.meets(service)
    assert not method.meets(other)
    assert not everything.meets(Reach(everything=False))
    shop = Reach(everything=False, hosts=("hosts/shop",))
    both = Reach(everything=False, hosts=("hosts/a", "hosts/shop"))
    # What comes to a host may have the path of a gRPC call.
    assert shop.meets(service)
    assert method.meets(shop)
    assert shop.meets(both)
    assert not shop.meets(Reach(everything=False, hosts=("hosts/a",)))
    assert shop.within(frozenset({"x.A"})).nothing


def test_of_more_buckets_than_there_may_be_edges_are_told_to_let_go(monkeypatch):
    monkeypatch.setattr("gateway.limits.quotas.BUCKETS_MAX", 3)
    known = quotas()
    buckets = [
        (("edition", edition(LIMIT)), ("limit", LIMIT.name), ("n", str(n))) for n in range(5)
    ]
    told = known.report("a", [usage(bucket=one) for one in buckets], 0.0)["a"]
    assert [one.strategy is None for one in told] == [False, False, False, True, True]
    assert len(known) == 3
    # Who says the same of them elsewhere gets no room by that.
    known.hear("b", buckets[4], 10.0, 10.0, 0.0)
    assert len(known) == 3
    # One that is idle makes room for another.
    for second in range(1, int(IDLE_S) + 2):
        known.report("a", [usage(allowed=0, bucket=buckets[0])], float(second))
        known.report("a", [usage(bucket=one) for one in buckets[1:3]], float(second))
    (last,) = known.report("a", [usage(bucket=buckets[3])], IDLE_S + 3)["a"]
    assert last.strategy is not None
