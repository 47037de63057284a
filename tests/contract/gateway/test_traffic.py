"""What routes and services can ask of the edge besides where calls go, with a real Envoy."""

import asyncio

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import route_pb2
from tests.fixtures.echo import SERVICE, EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres):
    async with edge(postgres) as made:
        made.servers = [await made.echo("0"), await made.echo("1")]
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def echo(mesh):
    await mesh.put_service("echo", mesh.servers[0])
    await mesh.settled()
    async with mesh.channel() as channel:
        yield EchoStub(channel)


@pytest_asyncio.fixture(loop_scope="module")
async def user(mesh):
    return bearer(await mesh.token())


async def put_route(mesh, **fields):
    route = route_pb2.Route(
        name="services/echo/routes/r",
        **{"match": route_pb2.RouteMatch(grpc_service=SERVICE), **fields},
    )
    await mesh.catalog.UpdateRoute(rpc.UpdateRouteRequest(route=route, allow_missing=True))
    await mesh.settled()


async def drop_route(mesh):
    await mesh.catalog.DeleteRoute(rpc.DeleteRouteRequest(name="services/echo/routes/r"))


async def admin_says(mesh, path, text):
    """Wait until Envoy's admin interface says *text* at *path*."""
    async with asyncio.timeout(10):
        while True:
            if text in await mesh.admin(path):
                return
            await asyncio.sleep(0.02)  # polls


def to(service):
    return [route_pb2.Destination(service=f"services/{service}", weight=1)]


async def test_headers_are_set_and_taken_away_on_both_ways(mesh, echo, user):
    changes = {"set": [{"name": "x-set", "value": "by the edge"}], "remove": ["x-gone"]}
    await put_route(
        mesh,
        destinations=to("echo"),
        request_headers=changes,
        response_headers={"set": [{"name": "x-answer", "value": "yes"}]},
    )
    call = echo.Echo(
        EchoMessage(text="hi"), metadata=(*user, ("x-gone", "1"), ("x-set", "by the caller"))
    )
    answer = await call
    headers = dict(header.split("=", 1) for header in answer.headers)
    assert headers["x-set"] == "by the edge"
    assert "x-gone" not in headers
    assert dict(await call.initial_metadata())["x-answer"] == "yes"
    await drop_route(mesh)


async def test_a_direct_response_is_a_grpc_status(mesh, echo, user):
    await put_route(mesh, direct_response={"status": 403})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.Echo(EchoMessage(text="hi"), metadata=user)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await drop_route(mesh)


async def test_a_copy_goes_to_the_mirror(mesh, echo, user):
    await mesh.put_service("copy", mesh.servers[1], grpc_services=[], json_prefixes=[])
    await put_route(mesh, destinations=to("echo"), mirrors=[{"service": "services/copy"}])
    answer = await echo.Echo(EchoMessage(text="hi"), metadata=user)
    assert answer.backend == "echo-0"
    said = "cluster.services/copy.upstream_rq_completed: 1"
    await admin_says(mesh, "/stats?filter=upstream_rq_completed", said)
    await drop_route(mesh)


async def test_a_key_keeps_to_its_endpoint(mesh, echo, user):
    balancing = {"policy": "POLICY_MAGLEV", "hash_key": {"header": "x-shard"}}
    await mesh.put_service("echo", *mesh.servers, load_balancing=balancing)
    await mesh.settled()
    seen = {}
    for shard in range(8):
        for _ in range(4):
            metadata = (*user, ("x-shard", str(shard)))
            answer = await echo.Echo(EchoMessage(text="hi"), metadata=metadata)
            seen.setdefault(shard, set()).add(answer.backend)
    assert all(len(replicas) == 1 for replicas in seen.values())
    assert set.union(*seen.values()) == {"echo-0", "echo-1"}


async def test_an_endpoint_that_fails_its_checks_gets_no_calls(mesh, echo, user):
    doomed = await mesh.echo("2")
    check = {"interval": {"nanos": 200_000_000}, "unhealthy_threshold": 1}
    await mesh.put_service("echo", mesh.servers[0], doomed, health_check=check)
    await mesh.settled()
    await doomed.stop()
    await admin_says(mesh, "/clusters", "/failed_active_hc")
    for _ in range(10):
        answer = await echo.Echo(EchoMessage(text="hi"), metadata=user)
        assert answer.backend == "echo-0"


async def test_priorities_and_localities_are_taken(mesh, echo, user):
    made = await mesh.put_service("echo", *mesh.servers)
    made.endpoints[0].priority = 3
    made.endpoints[0].locality.zone = "b"
    made.endpoints[1].locality.zone = "a"
    await mesh.catalog.UpdateService(rpc.UpdateServiceRequest(service=made))
    await mesh.settled()
    for _ in range(6):
        answer = await echo.Echo(EchoMessage(text="hi"), metadata=user)
        assert answer.backend == "echo-1"


async def test_an_api_that_ends_says_so(mesh, echo, user):
    ending = {
        "grpc_service": SERVICE,
        "deprecate_time": {"seconds": 1_700_000_000},
        "sunset_time": {"seconds": 1_900_000_000},
        "successor": "test.echo.v2.EchoService",
        "link": "https://docs.example/echo",
    }
    await mesh.put_service("echo", mesh.servers[0], lifecycles=[ending])
    await mesh.settled()
    call = echo.Echo(EchoMessage(text="hi"), metadata=user)
    await call
    told = dict(await call.initial_metadata())
    assert told["deprecation"] == "@1700000000"
    assert told["sunset"] == "Sun, 17 Mar 2030 17:46:40 GMT"
    assert 'rel="deprecation"' in told["link"]
    assert '</test.echo.v2.EchoService>; rel="successor-version"' in told["link"]
