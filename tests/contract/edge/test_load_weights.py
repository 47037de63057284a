"""Weights that follow what endpoints say of their load, at a real edge."""

import asyncio

import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import service_pb2
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge


pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 10
ROUND = 300
WITHIN_S = 40.0
IDLE = "cpu_utilization=0.2,rps_fractional=100"
BUSY = "cpu_utilization=0.8,rps_fractional=100"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        made.servers = [await made.echo(str(number)) for number in range(2)]
        yield made


async def share_of_the_first(mesh, stub, metadata):
    """Send a round of calls; return which part of them the first replica got."""
    before = [server.calls for server in mesh.servers]

    async def some():
        for _ in range(ROUND // AT_ONCE):
            await stub.Echo(EchoMessage(text="x"), metadata=metadata)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    first, second = (s.calls - b for s, b in zip(mesh.servers, before, strict=True))
    return first / (first + second)


async def until_share(mesh, fits):
    """Send calls until the first replica's share of them is as wanted; return it."""
    metadata = bearer(await mesh.token())
    async with mesh.channel() as channel, asyncio.timeout(WITHIN_S):
        stub = EchoStub(channel)
        while not fits(share := await share_of_the_first(mesh, stub, metadata)):
            pass
        return share


def by_load(**fields):
    return service_pb2.LoadBalancing(
        policy=service_pb2.LoadBalancing.POLICY_ROUND_ROBIN, weights_from_load=True, **fields
    )


async def test_a_busy_endpoint_gets_fewer_calls_and_gets_them_back_when_it_is_not(mesh):
    for server in mesh.servers:
        server.load = IDLE
    await mesh.put_service("echo", *mesh.servers, load_balancing=by_load())
    await mesh.settled()
    mesh.servers[0].load = BUSY
    # A quarter of the other's weight: one call in five.
    assert await until_share(mesh, lambda share: share < 0.3) > 0.05
    mesh.servers[0].load = IDLE
    await until_share(mesh, lambda share: 0.4 < share < 0.6)


async def test_errors_count_as_load(mesh):
    mesh.servers[0].load = f"{IDLE},eps=80"
    mesh.servers[1].load = IDLE
    await until_share(mesh, lambda share: share < 0.3)


async def test_whoever_says_nothing_counts_as_average(mesh):
    for server in mesh.servers:
        server.load = ""
    await mesh.put_service("echo", *mesh.servers, load_balancing=by_load(locality_weighted=True))
    await mesh.settled()
    await until_share(mesh, lambda share: 0.4 < share < 0.6)


async def test_what_endpoints_say_of_their_load_is_not_told_to_callers(mesh):
    mesh.servers[0].load = mesh.servers[1].load = BUSY
    metadata = bearer(await mesh.token())
    async with mesh.channel() as channel:
        call = EchoStub(channel).Echo(EchoMessage(text="x"), metadata=metadata)
        await call
        told = [*await call.initial_metadata(), *await call.trailing_metadata()]
    assert told
    assert not any("load" in name for name, _ in told)
