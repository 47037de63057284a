"""Callers that come without the edge are limited in the service, by the same limits."""

import asyncio
from datetime import timedelta

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from aerofusion.gateway.v1 import limit_service_pb2 as rpc
from aerofusion.gateway.v1 import limit_service_pb2_grpc
from meshkit.authz import allow
from meshkit.call_limits import CallLimits
from meshkit.serving import GrpcServer
from tests.contract.limits.conftest import limit


pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = "test.direct.v1.DirectService"
SCOPE = {"services": ["services/direct"]}


def register(servicer, server):
    async def answer(request, _):
        return request

    handlers = {"Call": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def direct(mesh):
    """A service `notifier` that isn't called through the edge; yields its address."""
    workload = await mesh.workload("notifier")
    gateway = f"127.0.0.1:{mesh.gateway_port}"
    server = GrpcServer(
        workload=workload,
        listen="127.0.0.1:0",
        policy={f"/{SERVICE}/Call": allow(services=["flightinfo"])},
        call_limits=CallLimits(workload, gateway),
    )
    server.add(register, None, SERVICE)
    await mesh.put_service(
        "direct", identity="notifier", grpc_services=[SERVICE], json_prefixes=[], descriptor_set=b""
    )
    port = await server.start()
    yield f"127.0.0.1:{port}"
    await server.drain(timedelta(0))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def call(mesh, direct):
    """Call it as flightinfo does."""
    async with (await mesh.workload("flightinfo")).channel(direct, "notifier") as channel:
        yield channel.unary_unary(f"/{SERVICE}/Call")


async def seen(call, calls, condition):
    """Call so often, again and again, until what comes of it is as it should be."""
    async with asyncio.timeout(20):
        while True:
            found = [await call(b"").code() for _ in range(calls)]
            if condition(found):
                return found
            await asyncio.sleep(0.02)  # polls


async def test_a_direct_caller_meets_the_limit_that_the_edge_has(mesh, limited, call):
    await limited(limit("direct", "local", 3, scope=SCOPE, keys=[{"subject": True}]))
    await seen(call, 4, lambda found: grpc.StatusCode.RESOURCE_EXHAUSTED in found)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    assert (info.reason, dict(info.metadata)) == ("LIMIT_REACHED", {"limit": "limits/direct"})
    assert 0 < retry.retry_delay.seconds <= 1200


async def test_a_limit_that_is_gone_is_gone_in_the_service_too(mesh, limited, call):
    await limited()
    found = await seen(call, 8, lambda found: set(found) == {grpc.StatusCode.OK})
    assert len(found) == 8


async def test_a_service_is_told_its_own_limits_only(mesh, limited, direct):
    await limited(limit("direct", "strict", 6, scope=SCOPE), limit("echo", "local", 1))
    async with (await mesh.workload("notifier")).channel(
        f"127.0.0.1:{mesh.gateway_port}"
    ) as channel:
        stub = limit_service_pb2_grpc.LimitServiceStub(channel)
        stream = stub.WatchLimits(rpc.WatchLimitsRequest(grpc_services=[SERVICE]))
        answer = await stream.read()
        stream.cancel()
        assert [rule.limit.name for rule in answer.rules] == ["limits/direct"]
        assert list(answer.rules[0].grpc_services) == [SERVICE]
        foreign = stub.WatchLimits(
            rpc.WatchLimitsRequest(grpc_services=["test.echo.v1.EchoService"])
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await foreign.read()
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
