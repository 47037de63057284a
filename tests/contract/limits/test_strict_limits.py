"""Strict limits: exact whatever comes at once, and told as clients expect."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from aerofusion.gateway.v1 import limit_service_pb2 as rpc
from tests.contract.limits.conftest import limit
from tests.contract.limits.test_local_limits import served
from tests.fixtures.echo import EchoMessage
from tests.fixtures.edge import bearer


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_of_calls_at_once_exactly_as_many_are_let_through_as_the_limit_says(
    mesh, echo, limited
):
    await limited(limit("exact", "strict", 20, keys=[{"subject": True}]))
    user = bearer(await mesh.token(subject="passengers/s1"))

    async def code():
        return await echo.Echo(EchoMessage(), metadata=user).code()

    codes = await asyncio.gather(*(code() for _ in range(60)))
    assert codes.count(grpc.StatusCode.OK) == 20
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 40
    answer = await mesh.limits.GetUsage(rpc.GetUsageRequest(limit="limits/exact"))
    (usage,) = answer.usages
    assert dict(usage.bucket) == {"subject": "passengers/s1"}
    assert (usage.parts[0].allowed, usage.parts[0].refused) == (20, 40)


async def test_a_call_is_taken_from_all_its_limits_or_from_none(mesh, echo, limited):
    await limited(
        limit("large", "strict", 10, cost=2), limit("small", "strict", 2, keys=[{"tenant": True}])
    )
    user = bearer(await mesh.token())
    assert await served(echo, 6, user) == 2
    answer = await mesh.limits.GetUsage(rpc.GetUsageRequest(limit="limits/large"))
    assert answer.usages[0].parts[0].allowed == 2


async def test_a_refusal_says_exactly_when_to_come_again(mesh, echo, limited):
    await limited(limit("told", "strict", 60, interval_s=3600, burst=1))
    user = bearer(await mesh.token())
    assert await served(echo, 1, user) == 1
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.Echo(EchoMessage(), metadata=user)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    assert dict(info.metadata) == {"limit": "limits/told"}
    assert 55 < retry.retry_delay.seconds <= 60


async def test_every_answer_has_the_standard_headers(mesh, limited):
    await limited(limit("told", "strict", 2))
    headers = dict(bearer(await mesh.token()))
    answers = []
    async with mesh.http() as session:
        for _ in range(3):
            async with session.post("/echo/v1/echo", json={}, headers=headers) as answer:
                answers.append((answer.status, answer.headers))
    assert [status for status, _ in answers] == [200, 200, 429]
    for number, (_, told) in enumerate(answers):
        assert told["ratelimit-policy"] == '"told";q=2;w=3600'
        assert told["ratelimit"].startswith(f'"told";r={max(0, 1 - number)};t=')
    assert 1790 <= int(answers[2][1]["retry-after"]) <= 1800


async def test_in_shadow_mode_it_only_counts(mesh, echo, limited):
    await limited(limit("shadow", "strict", 1, shadow=True))
    assert await served(echo, 3, bearer(await mesh.token())) == 3
    answer = await mesh.limits.GetUsage(rpc.GetUsageRequest(limit="limits/shadow"))
    assert answer.usages[0].parts[0].would_have_refused == 2
