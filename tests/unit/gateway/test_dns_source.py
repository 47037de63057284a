"""What DNS answers come to. The questions are answered from a dictionary."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import dns.name
import hypothesis.strategies as st
from hypothesis import given

from gateway.model import DnsDiscovery
from gateway.sources.dns import TARGETS_MAX, Look, Records, pause_s, srv_targets


def a(*addresses, ttl=60.0):
    return Records(values=tuple(SimpleNamespace(address=one) for one in addresses), ttl=ttl)


def srv(*rows, ttl=60.0):
    return Records(values=tuple(record(*row) for row in rows), ttl=ttl)


def record(priority, weight, port, target):
    return SimpleNamespace(
        priority=priority, weight=weight, port=port, target=dns.name.from_text(target)
    )


def take(look, answers):
    async def ask(host, kind):
        return answers.get((host, kind))

    return asyncio.run(look.take(ask))


def places(found):
    return [(one.address, one.port) for one in found.endpoints]


def host(name="shop.example", port=443):
    return Look(DnsDiscovery(hostname=name, port=port, refresh_interval=timedelta(seconds=30)))


def test_both_families_are_taken_and_the_shorter_ttl_counts():
    look = host()
    answers = {
        ("shop.example", "A"): a("10.0.0.1", "10.0.0.2", ttl=20),
        ("shop.example", "AAAA"): a("2001:db8::1", ttl=5),
    }
    assert places(take(look, answers)) == [
        ("10.0.0.1", 443),
        ("10.0.0.2", 443),
        ("2001:db8::1", 443),
    ]
    assert look.ttl == 5


def test_a_family_that_fails_keeps_what_it_was():
    look = host()
    take(look, {("shop.example", "A"): a("10.0.0.1"), ("shop.example", "AAAA"): a("2001:db8::1")})
    assert places(take(look, {("shop.example", "A"): a("10.0.0.2")})) == [
        ("10.0.0.2", 443),
        ("2001:db8::1", 443),
    ]


def test_no_answer_says_nothing_and_no_records_say_that_there_are_none():
    look = host()
    assert take(look, {}) is None
    assert take(look, {("shop.example", "A"): a()}) is None  # AAAA may still be there.
    assert places(take(look, {("shop.example", "AAAA"): a()})) == []
    take(look, {("shop.example", "A"): a("10.0.0.1")})
    assert take(look, {}) is None


def test_srv_records_bring_ports_priorities_and_weights():
    look = host("_grpc._tcp.shop.example", 0)
    answers = {
        ("_grpc._tcp.shop.example", "SRV"): srv(
            (10, 60, 8001, "a.example."), (10, 0, 8002, "b.example."), (20, 5, 8003, "a.example.")
        ),
        ("a.example", "A"): a("10.0.0.1"),
        ("a.example", "AAAA"): a(),
        ("b.example", "A"): a("10.0.0.2"),
        ("b.example", "AAAA"): a(),
    }
    found = take(look, answers)
    assert [(one.address, one.port, one.priority, one.weight) for one in found.endpoints] == [
        ("10.0.0.1", 8001, 0, 60),
        ("10.0.0.2", 8002, 0, 1),
        ("10.0.0.1", 8003, 1, 5),
    ]
    answers["_grpc._tcp.shop.example", "SRV"] = None
    answers["b.example", "A"] = None
    assert take(look, answers) == found


def test_a_root_target_means_nothing_there():
    look = host("_grpc._tcp.shop.example", 0)
    answers = {("_grpc._tcp.shop.example", "SRV"): srv((0, 0, 0, "."))}
    assert places(take(look, answers)) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 65_535), st.integers(0, 65_535), st.integers(1, 65_535)),
        max_size=150,
    )
)
def test_targets_are_bounded_and_in_their_order(rows):
    targets = srv_targets([record(*row, f"h{n}.example.") for n, row in enumerate(rows)])
    assert len(targets) == min(len(rows), TARGETS_MAX)
    assert all(1 <= one.weight <= 1_000 and 0 <= one.priority <= 8 for one in targets)
    assert [one.priority for one in targets] == sorted(one.priority for one in targets)


@given(st.floats(0, 1e9), st.floats(1, 3600), st.integers(0, 10_000), st.booleans())
def test_the_next_question_is_neither_at_once_nor_never(ttl, refresh, failures, empty):
    pause = pause_s(ttl, refresh, failures, empty=empty)
    assert 1.0 <= pause <= max(refresh, 1.0)
    if not failures:
        assert pause <= max(ttl, 1.0)
