"""Limits that a service keeps itself."""

import pytest
from google.protobuf import duration_pb2

from aerofusion.gateway.v1 import limit_pb2, limit_service_pb2
from meshkit.call_limits import Buckets, Call
from meshkit.errors import Overloaded


NOW = 10**15
CALL = Call(method="/a.B/C", service="flightinfo", peer="ipv4:192.0.2.1:5000")


def rule(name, requests, *keys, replicas=1, **fields):
    return limit_service_pb2.LimitRule(
        limit=limit_pb2.Limit(
            name=f"limits/{name}",
            requests=requests,
            interval=duration_pb2.Duration(seconds=60),
            keys=[limit_pb2.LimitKey(**key) for key in keys],
            **fields,
        ),
        grpc_services=["a.B"],
        replicas=replicas,
    )


def allowed(buckets, calls, now=NOW):
    count = 0
    for call in calls:
        try:
            buckets.check(call, now)
        except Overloaded:
            continue
        count += 1
    return count


def test_a_limit_is_divided_among_replicas():
    buckets = Buckets()
    buckets.replace([rule("l", 12, replicas=3)])
    assert allowed(buckets, [CALL] * 10) == 4
    assert allowed(buckets, [CALL], NOW + 15 * 10**9) == 1
    assert allowed(buckets, [CALL], NOW + 15 * 10**9) == 0


def test_a_call_is_taken_from_all_buckets_or_from_none():
    buckets = Buckets()
    buckets.replace([rule("large", 5), rule("small", 1, {"header": "x-app"})])
    one = Call(method="/a.B/C", service="s", metadata={"x-app": "1"})
    assert allowed(buckets, [one] * 9) == 1
    others = [Call(method="/a.B/C", service="s", metadata={"x-app": str(n)}) for n in range(2, 9)]
    assert allowed(buckets, others) == 4


def test_buckets_stay_when_other_limits_change():
    buckets = Buckets()
    buckets.replace([rule("l", 2)])
    assert allowed(buckets, [CALL] * 3) == 2
    buckets.replace([rule("l", 2), rule("more", 100)])
    assert allowed(buckets, [CALL]) == 0


def test_in_shadow_mode_it_only_tells():
    buckets = Buckets()
    buckets.replace([rule("l", 1, shadow=True)])
    assert buckets.check(CALL, NOW) == ()
    assert buckets.check(CALL, NOW) == ("limits/l",)


@pytest.mark.parametrize("method", ["/a.BB/C", "/a/B/C", "/grpc.health.v1.Health/Check"])
def test_other_services_are_not_limited(method):
    buckets = Buckets()
    buckets.replace([rule("l", 1)])
    assert allowed(buckets, [Call(method=method, service="s")] * 5) == 5
