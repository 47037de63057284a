"""What a real Envoy reports of its load, through the relay."""

import asyncio

import pytest

from aerofusion.gateway.v1 import change_service_pb2 as rpc
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer
from tests.fixtures.endpoints import until


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def receipt(mesh, revision):
    answer = await mesh.changes.GetChange(rpc.GetChangeRequest(name=f"changes/{revision}"))
    (found,) = answer.change.receipts
    return found


async def test_a_change_is_served_once_a_request_was_and_not_before(mesh):
    server = await mesh.echo("load")
    made = await mesh.put_service("echo", server)
    await mesh.settled()

    async def warm():
        return (await receipt(mesh, made.revision)).HasField("warm_time")

    await until("a warm cluster", warm)
    user = bearer(await mesh.token())
    async with mesh.channel() as channel:
        stub = EchoStub(channel)

        async def served():
            assert (await stub.Echo(EchoMessage(text="hi"), metadata=user)).backend == "echo-load"
            found = await receipt(mesh, made.revision)
            return found if found.HasField("serve_time") else None

        found = await until("a report of it", served)
    assert found.warm_time.ToDatetime() < found.serve_time.ToDatetime()
    unused = await mesh.put_service("echo", server, unary_timeout={"seconds": 9})
    await mesh.settled()
    clock = asyncio.get_running_loop().time
    began = clock()

    async def some_reports_later():
        assert not (await receipt(mesh, unused.revision)).HasField("serve_time")
        return clock() - began > 2.5

    await until("time for two reports", some_reports_later)
