"""Limits in an edge alone: what they count by, how they answer, and that changing one is quiet."""

import asyncio

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.contract.limits.conftest import METHOD, limit
from tests.fixtures.echo import EchoMessage
from tests.fixtures.edge import bearer


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def served(echo, calls, metadata):
    """How many of some calls are served; the others must be refused by a limit."""
    codes = [await echo.Echo(EchoMessage(), metadata=metadata).code() for _ in range(calls)]
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    return codes.count(grpc.StatusCode.OK)


async def test_each_subject_has_a_bucket_of_its_own(mesh, echo, limited):
    await limited(limit("mine", "local", 3, keys=[{"subject": True}]))
    ann = bearer(await mesh.token(subject="passengers/ann"))
    bob = bearer(await mesh.token(subject="passengers/bob"))
    assert await served(echo, 5, ann) == 3
    assert await served(echo, 2, bob) == 2


async def test_keys_count_together(mesh, echo, limited):
    await limited(limit("both", "local", 1, keys=[{"subject": True}, {"header": "x-app"}]))
    ann = bearer(await mesh.token(subject="passengers/ann"))
    assert await served(echo, 2, (*ann, ("x-app", "a"))) == 1
    assert await served(echo, 2, (*ann, ("x-app", "b"))) == 1
    assert await served(echo, 2, ann) == 1


async def test_what_a_call_costs_is_taken(mesh, echo, limited):
    await limited(limit("dear", "local", 10, cost=4, keys=[{"tenant": True}]))
    assert await served(echo, 5, bearer(await mesh.token())) == 2


async def test_a_burst_is_the_most_at_once(mesh, echo, limited):
    await limited(limit("burst", "local", 100, burst=2))
    assert await served(echo, 4, bearer(await mesh.token())) == 2


async def test_every_limit_that_is_about_a_call_must_let_it_pass(mesh, echo, limited):
    await limited(
        limit("wide", "local", 4, scope={}),
        limit("narrow", "local", 2, scope={"methods": [METHOD]}),
        limit("elsewhere", "local", 1, scope={"grpc_services": ["some.other.v1.Service"]}),
    )
    assert await served(echo, 5, bearer(await mesh.token())) == 2


async def test_a_query_is_no_way_around_a_limit_of_a_method(mesh, echo, limited):
    await limited(limit("method", "local", 2, keys=[{"method": True}]))
    user = bearer(await mesh.token())
    assert await served(echo, 3, user) == 2
    async with mesh.channel() as channel:
        call = channel.unary_unary(f"/{METHOD}?more=1")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=user)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_in_shadow_mode_nothing_is_refused_and_it_is_counted(mesh, echo, limited):
    await limited(
        limit("shadow", "local", 1, shadow=True), limit("real", "local", 3, interval_s=1800)
    )
    assert await served(echo, 5, bearer(await mesh.token())) == 3
    stats = await mesh.admin("/stats?filter=limits.http_local_rate_limit.shadow_mode")
    assert int(stats.split()[-1]) >= 2


async def test_a_grpc_client_is_told_when_to_come_again(mesh, echo, limited):
    await limited(limit("told", "local", 1))
    user = bearer(await mesh.token())
    await echo.Echo(EchoMessage(), metadata=user)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.Echo(EchoMessage(), metadata=user)
    status = rpc_status.from_call(caught.value)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(retry)
    assert info.reason == "LIMIT_REACHED"
    assert retry.retry_delay.seconds == 1
    headers = dict(caught.value.initial_metadata()) | dict(caught.value.trailing_metadata())
    assert headers["x-ratelimit-limit"].startswith("1")


async def test_a_json_client_gets_429_and_retry_after(mesh, limited):
    await limited(limit("told", "local", 1))
    headers = dict(bearer(await mesh.token()))
    async with mesh.http() as session:
        async with session.post("/echo/v1/echo", json={}, headers=headers) as first:
            assert first.status == 200
        async with session.post("/echo/v1/echo", json={}, headers=headers) as second:
            assert second.status == 429
            assert second.headers["retry-after"] == "1"


async def test_a_changed_limit_cuts_no_stream_and_touches_no_listener(mesh, echo, limited):
    await limited(limit("first", "local", 100))
    before = await mesh.admin("/stats?filter=listener_manager.listener_modified")
    user = bearer(await mesh.token())
    call = echo.Chat(metadata=user)
    await call.write(EchoMessage(text="before"))
    assert (await call.read()).text == "before"
    for requests in (1, 2, 3):
        await limited(limit("first", "local", requests), limit("more", "local", 10 * requests))
    assert await served(echo, 5, user) == 3
    await call.write(EchoMessage(text="after"))
    assert (await asyncio.wait_for(call.read(), 5)).text == "after"
    await call.done_writing()
    assert await mesh.admin("/stats?filter=listener_manager.listener_modified") == before
