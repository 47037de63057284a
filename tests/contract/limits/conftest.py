"""Limits at a real edge, with the gateway in its own catalog so that edges can ask it."""

from datetime import timedelta

import pytest_asyncio

from aerofusion.gateway.v1 import config_service_pb2, limit_pb2, object_pb2, policy_pb2, service_pb2
from tests.fixtures.echo import SERVICE, EchoStub
from tests.fixtures.edge import edge


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    """An edge with an echo service and the gateway behind it."""
    async with edge(postgres, preflight=False, strict_limit_timeout=timedelta(seconds=10)) as made:
        made.servers = [await made.echo("0")]
        await made.put_service("echo", *made.servers)
        await put_gateway(made)
        await made.settled()
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def limited(mesh):
    """Put limits in the place of those of the test before: `await limited(**fields)`."""

    async def put(*limits):
        await apply(mesh, *limits)

    yield put
    await apply(mesh)


@pytest_asyncio.fixture(loop_scope="module")
async def echo(mesh):
    async with mesh.channel() as channel:
        yield EchoStub(channel)


async def put_gateway(mesh):
    """Make the gateway a service of its own catalog."""
    service = service_pb2.Service(
        name="services/gateway",
        identity="gateway",
        grpc_services=["aerofusion.gateway.v1.LimitService"],
        endpoints=[service_pb2.Endpoint(address="127.0.0.1", port=mesh.gateway_port)],
    )
    await change(mesh, objects=[object_pb2.Object(service=service)])


async def apply(mesh, *limits):
    """Make the catalog have these limits and no others, and wait for the edge."""
    objects = [object_pb2.Object(limit=limit) for limit in limits]
    await change(mesh, objects=objects, prune=["limits/"])
    await mesh.settled()


async def change(mesh, **fields):
    wanted = config_service_pb2.ChangeSet(**fields)
    await mesh.config.ApplyChange(config_service_pb2.ApplyChangeRequest(change_set=wanted))


def limit(name, strength, requests, *, interval_s=3600, scope=None, keys=(), **fields):
    """A limit; its interval is so long that nothing comes back while a test runs."""
    given = [limit_pb2.LimitKey(**key) for key in keys]
    made = limit_pb2.Limit(
        name=f"limits/{name}",
        strength=limit_pb2.Limit.Strength.Value(f"STRENGTH_{strength.upper()}"),
        requests=requests,
        keys=given,
        scope=policy_pb2.CallScope(**(scope or {"services": ["services/echo"]})),
        **fields,
    )
    made.interval.seconds = interval_s
    return made


METHOD = f"{SERVICE}/Echo"
