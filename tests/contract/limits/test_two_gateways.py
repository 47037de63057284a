"""Two gateways with an edge each, and limits over both."""

import asyncio

import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import object_pb2, service_pb2
from tests.contract.limits.conftest import apply, change, limit
from tests.contract.limits.test_local_limits import served
from tests.fixtures.echo import EchoStub
from tests.fixtures.edge import bearer, edge


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def meshes(postgres, nats_server):
    """Two edges, of two replicas of the gateway on one database and one bus."""
    shared = {"preflight": False, "nats_url": nats_server.url}
    async with edge(postgres, **shared) as one:
        dsn, identity = one.settings.postgres_dsn, one.settings.identity_dir
        async with edge(
            postgres, number=1, postgres_dsn=dsn, identity_dir=identity, **shared
        ) as two:
            await one.put_service("echo", await one.echo())
            await put_gateways(one, two)
            for mesh in (one, two):
                await mesh.settled()
            yield one, two


async def put_gateways(*meshes):
    service = service_pb2.Service(
        name="services/gateway",
        identity="gateway",
        grpc_services=["aerofusion.gateway.v1.LimitService"],
        endpoints=[
            service_pb2.Endpoint(address="127.0.0.1", port=mesh.gateway_port) for mesh in meshes
        ],
    )
    await change(meshes[0], objects=[object_pb2.Object(service=service)])


async def put(meshes, *limits):
    await apply(meshes[0], *limits)
    for mesh in meshes:
        await mesh.settled()


async def test_what_two_edges_let_through_by_a_strict_limit_is_the_limit(meshes):
    await put(meshes, limit("exact", "strict", 10, interval_s=1800, keys=[{"subject": True}]))
    one, two = meshes
    user = bearer(await one.token(subject="passengers/s1"))
    async with one.channel() as first, two.channel() as second:
        let = await asyncio.gather(
            *(served(EchoStub(channel), 12, user) for channel in (first, second))
        )
    assert sum(let) == 10
