"""Quotas: an edge reports, the gateway divides, and refusals say when to come again."""

import asyncio
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from aerofusion.gateway.v1 import limit_service_pb2 as rpc
from tests.contract.limits.conftest import METHOD, limit
from tests.contract.limits.test_local_limits import served
from tests.fixtures.echo import EchoMessage
from tests.fixtures.edge import bearer


pytestmark = pytest.mark.asyncio(loop_scope="module")

REPORT_S = 5


async def usage(mesh, name):
    answer = await mesh.limits.GetUsage(rpc.GetUsageRequest(limit=f"limits/{name}"))
    return list(answer.usages)


async def assigned(mesh, name, user, echo):
    """Make one call and wait until the gateway has divided its bucket; its answer is on the way."""
    await echo.Echo(EchoMessage(), metadata=user)
    return await seen(mesh, name, lambda found: bool(found.parts))


def about(number):
    """Return how many of some calls are served: one more if it came before the gateway's answer."""
    return {number, number + 1}


async def seen(mesh, name, condition):
    """Wait until the usage of the limit's one bucket is as it should be."""
    async with asyncio.timeout(3 * REPORT_S):
        while True:
            found = await usage(mesh, name)
            if found and condition(found[0]):
                return found[0]
            await asyncio.sleep(0.02)  # polls


async def test_an_edge_gets_the_whole_quota_while_it_is_alone(mesh, echo, limited):
    await limited(limit("calls", "quota", 5, keys=[{"subject": True}]))
    user = bearer(await mesh.token(subject="passengers/q1"))
    found = await assigned(mesh, "calls", user, echo)
    assert dict(found.bucket) == {"subject": "passengers/q1"}
    assert found.parts[0].edge == "edge/0"
    assert found.parts[0].assigned_per_second == pytest.approx(found.allowed_per_second_max)
    call = echo.Echo(EchoMessage(), metadata=bearer(await mesh.token(subject="passengers/q0")))
    headers = dict(await call.initial_metadata())
    assert not [name for name in headers if name.startswith("x-ratelimit")], "its guard's"
    assert await served(echo, 8, user) in about(5)


async def test_a_refusal_tells_when_to_come_again(mesh, echo, limited):
    await limited(limit("told", "quota", 60, interval_s=3600, burst=1))
    user = bearer(await mesh.token(subject="passengers/q2"))
    await assigned(mesh, "told", user, echo)
    assert await served(echo, 1, user) == 1

    async def call_until_refused():
        for _ in about(1):
            await echo.Echo(EchoMessage(), metadata=user)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call_until_refused()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    assert dict(info.metadata) == {"limit": "limits/told"}
    assert retry.retry_delay.seconds == 60


async def test_quotas_about_the_same_call_all_count(mesh, echo, limited):
    await limited(
        limit("wide", "quota", 6, scope={}),
        limit("service", "quota", 4),
        limit("method", "quota", 2, scope={"methods": [METHOD]}),
    )
    user = bearer(await mesh.token(subject="passengers/q3"))
    await assigned(mesh, "method", user, echo)
    assert await served(echo, 7, user) in about(2)


async def test_a_quota_in_shadow_mode_counts_what_it_would_refuse(mesh, echo, limited):
    await limited(limit("shadow", "quota", 2, shadow=True))
    user = bearer(await mesh.token(subject="passengers/q4"))
    await assigned(mesh, "shadow", user, echo)
    assert await served(echo, 6, user) == 6
    found = await seen(mesh, "shadow", lambda one: one.parts[0].would_have_refused > 0)
    assert found.parts[0].would_have_refused in {3, 4}
    assert found.parts[0].refused == 0


async def test_a_changed_quota_holds_at_once(mesh, echo, limited):
    await limited(limit("changed", "quota", 100))
    user = bearer(await mesh.token(subject="passengers/q5"))
    await assigned(mesh, "changed", user, echo)
    await limited(limit("changed", "quota", 2))
    started = time.monotonic()
    await assigned(mesh, "changed", user, echo)
    assert await served(echo, 5, user) in about(2)
    assert time.monotonic() - started < REPORT_S
