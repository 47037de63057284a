"""Memory runs short at the edge: who is new is turned away, who is there is served on."""

import asyncio

import grpc
import pytest

from aerofusion.gateway.v1 import config_service_pb2, object_pb2, service_pb2
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge
from tests.fixtures.wire import connect


WITHIN_S = 60
STOPPED = "overload.envoy.overload_actions.stop_accepting_requests.active"
SERVICES_AT_ONCE = 100
SERVICES_MAX = 6_000


@pytest.fixture
async def mesh(postgres):
    async with edge(postgres, preflight=False) as made:
        await made.put_service("echo", await made.echo())
        await made.settled()
        # Envoy begins with a third of its heap to spare.
        used = await heap(made)
        made.kill_envoy()
        await made.start_envoy(heap_max=int(used * 1.5))
        await made.settled()
        yield made


async def heap(mesh):
    """What Envoy compares with the most it may have."""
    for line in (await mesh.admin("/stats?filter=server.memory_allocated")).splitlines():
        return int(line.split()[-1])
    raise AssertionError("it doesn't say")


async def is_stopped(mesh):
    return (await mesh.admin(f"/stats?filter={STOPPED}")).strip().endswith(": 1")


async def fill(mesh):
    """Configure ever more, until Envoy takes no more requests."""
    for first in range(0, SERVICES_MAX, SERVICES_AT_ONCE):
        objects = [
            object_pb2.Object(
                service=service_pb2.Service(
                    name=f"services/s{number}",
                    identity="echo",
                    grpc_services=[f"test.s{number}.v1.Api"],
                    endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=1)],
                )
            )
            for number in range(first, first + SERVICES_AT_ONCE)
        ]
        change = config_service_pb2.ChangeSet(objects=objects)
        await mesh.config.ApplyChange(config_service_pb2.ApplyChangeRequest(change_set=change))
        await mesh.settled()
        if await is_stopped(mesh):
            return
    raise AssertionError("it never had enough")


async def test_short_of_memory_it_refuses_who_is_new_and_keeps_who_is_there(mesh):
    metadata = bearer(await mesh.token())
    async with mesh.channel() as channel:
        chat = EchoStub(channel).Chat(metadata=metadata)
        await chat.write(EchoMessage(text="before"))
        assert (await chat.read()).text == "before"
        idle, idle_writer = await connect(mesh.port, mesh.bundle_pem, "http/1.1")
        await fill(mesh)
        # A stream that is open goes on.
        await chat.write(EchoMessage(text="after"))
        assert (await chat.read()).text == "after"
        # Who comes now is not served.
        async with mesh.channel() as another:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await EchoStub(another).Echo(EchoMessage(text="x"), metadata=metadata, timeout=15)
        assert caught.value.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )
        # A connection that does nothing, otherwise kept for an hour, is closed in a moment.
        async with asyncio.timeout(WITHIN_S):
            assert await idle.read() == b""
        idle_writer.close()
        await chat.write(EchoMessage(text="at last"))
        assert (await chat.read()).text == "at last"
        chat.cancel()
