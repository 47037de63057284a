"""Spans in any order become the calls that were made, every one and no other."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.map.edges import Edges, quantile, upper_bound
from telemetry.map.join import DATABASE, EXTERNAL, MESSAGING, RPC, bucket_of
from tests.unit.telemetry_map.otlp_spans import (
    CLIENT,
    CONSUMER,
    INTERNAL,
    MS,
    NOW_NS,
    PRODUCER,
    SERVER,
    One,
    export,
    take,
)


NOW_MS = NOW_NS // MS
LATER_MS = NOW_MS + 60_001


def small():
    return Edges(spans_max=1024)


def found(edges):
    """The calls so far, and what those that still wait stand for."""
    edges.expire(LATER_MS)
    return Counter(
        {(one.client, one.server, one.kind, one.virtual): one.calls for one in edges.take_calls()}
    )


def test_a_call_is_found_whichever_of_its_spans_comes_first():
    client, server = One("a", 1, kind=CLIENT), One("b", 2, 1, SERVER)
    for spans in ((client, server), (server, client)):
        edges = small()
        for one in spans:
            take(edges, one)
        (call,) = edges.take_calls()
        assert (call.client, call.server, call.kind, call.virtual) == ("a", "b", RPC, False)
        assert (call.calls, call.errors, call.minute) == (1, 0, NOW_NS // 60_000_000_000)
        assert not found(edges)


def test_a_call_lasts_and_fails_as_its_caller_saw_it():
    edges = small()
    take(edges, One("a", 1, kind=CLIENT, duration_ns=9 * MS, failed=True))
    take(edges, One("b", 2, 1, SERVER, duration_ns=5 * MS))
    (call,) = edges.take_calls()
    assert (call.errors, call.duration_ns) == (1, 9 * MS)
    assert call.latency == ((bucket_of(9 * MS), 1),)


def test_what_stays_within_a_service_is_no_call():
    edges = small()
    take(edges, One("a", 1, kind=SERVER), One("a", 2, 1, INTERNAL), One("a", 3, 2, SERVER))
    assert found(edges) == {("", "a", RPC, False): 1}


def test_a_service_may_call_itself():
    edges = small()
    take(edges, One("a", 1, kind=CLIENT), One("a", 2, 1, SERVER))
    assert found(edges) == {("a", "a", RPC, False): 1}


def test_a_caller_without_client_spans_is_known_by_its_service():
    edges = small()
    take(edges, One("b", 2, 1, SERVER), One("a", 1, kind=INTERNAL))
    assert found(edges) == {("a", "b", RPC, False): 1}


def test_each_consumer_of_a_message_is_a_call():
    edges = small()
    take(edges, One("b", 2, 1, CONSUMER), One("c", 3, 1, CONSUMER), One("a", 1, kind=PRODUCER))
    assert found(edges) == {("a", "b", MESSAGING, False): 1, ("a", "c", MESSAGING, False): 1}


@pytest.mark.parametrize(
    ("attributes", "server", "kind"),
    [
        ({"server.address": "db.example", "db.system": "postgresql"}, "postgresql", DATABASE),
        ({"db.system": "x", "db.system.name": "mysql"}, "mysql", DATABASE),
        ({"peer.service": "pay", "db.system": "x", "server.address": "y"}, "pay", EXTERNAL),
        ({"server.address": "api.example", "net.peer.name": "z"}, "api.example", EXTERNAL),
        ({"messaging.system": "nats", "server.address": "y"}, "nats", MESSAGING),
        ({"net.peer.name": "z", "other.attribute": "w"}, "z", EXTERNAL),
    ],
)
def test_a_peer_that_nobody_answers_for_is_what_the_client_calls_it(attributes, server, kind):
    edges = small()
    take(edges, One("a", 1, kind=CLIENT, attributes=attributes))
    edges.expire(NOW_MS + 60_000)
    assert not edges.take_calls()
    assert found(edges) == {("a", server, kind, True): 1}


def test_a_peer_that_answers_is_not_virtual_nor_is_one_without_a_name():
    edges = small()
    take(edges, One("a", 1, kind=CLIENT, attributes={"peer.service": "wrong"}))
    take(edges, One("b", 2, 1, SERVER), One("a", 3, kind=CLIENT))
    assert found(edges) == {("a", "b", RPC, False): 1}


def test_a_server_whose_caller_is_never_seen_is_called_from_outside():
    edges = small()
    take(edges, One("a", 1, kind=SERVER), One("b", 3, 2, SERVER))
    assert found(edges) == {("", "a", RPC, False): 1, ("", "b", RPC, False): 1}


def test_spans_sent_twice_count_once():
    edges = small()
    for _ in range(3):
        take(edges, One("a", 1, kind=CLIENT), One("b", 2, 1, SERVER), One("c", 9, kind=SERVER))
    assert found(edges) == {("a", "b", RPC, False): 1, ("", "c", RPC, False): 1}


def test_tenants_and_traces_are_apart():
    edges = small()
    take(edges, One("a", 1, kind=CLIENT), tenant="x")
    take(edges, One("b", 2, 1, SERVER), tenant="y")
    take(edges, One("b", 2, 1, SERVER, trace=2), tenant="x")
    edges.expire(LATER_MS)
    calls = edges.take_calls()
    assert sorted((one.tenant, one.client, one.server) for one in calls) == [
        ("x", "", "b"),
        ("y", "", "b"),
    ]


def test_a_service_without_a_name_has_one():
    edges = small()
    take(edges, One("", 1, kind=SERVER))
    assert found(edges) == {("", "unknown_service", RPC, False): 1}


def test_minutes_are_apart():
    edges = small()
    take(edges, *(One("a", n, kind=SERVER, start_ns=NOW_NS + n * 30_000 * MS) for n in (1, 2, 3)))
    calls = sorted(edges.take_calls(), key=lambda one: one.minute)
    assert [(one.minute - NOW_NS // 60_000_000_000, one.calls) for one in calls] == [(0, 1), (1, 2)]


def test_memory_is_bounded_and_what_leaves_too_early_is_counted():
    edges = small()
    for n in range(1, 3000):
        take(edges, One("a", n, kind=CLIENT, attributes={"peer.service": "p"}))
    assert edges.waiting == 1024
    assert edges.gone_early == 2999 - 1024
    assert found(edges) == {("a", "p", EXTERNAL, True): 2999}


def test_too_many_names_are_one():
    edges = Edges(spans_max=1 << 15)
    for n in range(0, 12_000, 100):
        take(edges, *(One(f"s{n + i}", n + i + 1, kind=SERVER) for i in range(100)))
        if edges.crowded:
            assert sum(one.calls for one in edges.take_calls()) > 0
    (other,) = [one for one in edges.take_calls() if one.server == "(other)"]
    assert other.calls > 1_500
    assert edges.lost == 0


TOPOLOGY = {
    "edge": ["shop", "notifier"],
    "shop": ["pay", "stock", "postgres"],
    "pay": ["bank"],
    "stock": ["shop", "postgres"],
    "notifier": [],
}
NOT_INSTRUMENTED = {"postgres": DATABASE, "bank": EXTERNAL}


def walk(chance, spans, expected, service, *, parent=0, depth=0):
    """One server's span of *service* and all that it calls."""
    server = len(spans) + 1
    spans.append(One(service, server, parent, SERVER))
    for peer in TOPOLOGY[service] if depth < 4 else ():
        if chance.random() < 0.5:
            continue
        call = len(spans) + 1
        name = "db.system" if NOT_INSTRUMENTED.get(peer) == DATABASE else "peer.service"
        spans.append(One(service, call, server, CLIENT, attributes={name: peer}))
        if peer in NOT_INSTRUMENTED:
            expected[service, peer, NOT_INSTRUMENTED[peer], True] += 1
        else:
            expected[service, peer, RPC, False] += 1
            walk(chance, spans, expected, peer, parent=call, depth=depth + 1)


@settings(max_examples=200)
@given(st.randoms(use_true_random=True), st.integers(1, 3))
def test_every_edge_of_a_known_topology_is_found_in_any_order_and_division(chance, traces):
    spans, expected = [], Counter()
    for _ in range(traces):
        expected["", "edge", RPC, False] += 1
        walk(chance, spans, expected, "edge")
    chance.shuffle(spans)
    edges = Edges(spans_max=4096)
    while spans:
        size = chance.randint(1, 5)
        take(edges, *spans[:size])
        del spans[:size]
    assert found(edges) == expected


def test_a_large_topology_is_right_to_the_last_call():
    chance, expected, spans = random.Random(7), Counter(), []
    for trace in range(1, 2001):
        path = [f"service-{chance.randint(0, 29)}" for _ in range(chance.randint(2, 6))]
        parent, number = 0, 1
        expected["", path[0], RPC, False] += 1
        for here, there in zip(path, [*path[1:], ""], strict=True):
            spans.append(One(here, number, parent, SERVER, trace=trace))
            if there:
                spans.append(One(here, number + 1, number, CLIENT, trace=trace))
                expected[here, there, RPC, False] += 1
            parent, number = number + 1, number + 2
    chance.shuffle(spans)
    edges = Edges(spans_max=1 << 16)
    for at in range(0, len(spans), 50):
        edges.take(export(*spans[at : at + 50]), "", NOW_NS, 50)
    assert found(edges) == expected
    assert (edges.gone_early, edges.lost) == (0, 0)


@given(st.integers(1, 10**12))
def test_a_duration_is_in_its_bucket(duration_ns):
    bucket = bucket_of(duration_ns)
    assert duration_ns <= upper_bound(bucket) + 1
    assert bucket == 0 or duration_ns >= upper_bound(bucket - 1) - 1


@given(st.lists(st.integers(2_000, 10**10), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_off_by_a_fifth_at_most(durations, share):
    latency = tuple(Counter(map(bucket_of, durations)).items())
    rank = max(0, -int(-share * len(durations) // 1) - 1)
    exact = sorted(durations)[min(rank, len(durations) - 1)]
    assert exact / 1.2 <= quantile(latency, share) <= exact * 1.2
