"""Replicas that register themselves, up to the edge."""

import asyncio
import time
from datetime import timedelta

import grpc
import pytest
import pytest_asyncio

from aerofusion.gateway.v1 import registry_service_pb2 as rpc
from aerofusion.gateway.v1 import registry_service_pb2_grpc, service_pb2
from meshkit.status import from_rpc_error
from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer
from tests.fixtures.endpoints import answered, has_hosts, hosts, later, load, until


pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTRY = service_pb2.Discovery(registry=service_pb2.RegistryDiscovery())
OUT_WITHIN_S = 2.0


async def listed(mesh, service="services/echo"):
    answer = await mesh.registry.ListRegistrations(rpc.ListRegistrationsRequest(service=service))
    return {one.endpoint.port: one for one in answer.registrations}


async def test_a_killed_replica_gets_no_request_after_two_seconds(mesh, replicas, record_property):
    await mesh.put_service("echo", discovery=REGISTRY)
    await asyncio.gather(replicas.start("a"), replicas.start("b"))
    await has_hosts(mesh, *replicas.ports.values())
    async with load(mesh) as results:
        await until("answers of both", answered(results, "echo-a", "echo-b"))
        killed = await replicas.kill("a")
        await has_hosts(mesh, replicas.ports["b"])
        out_s = time.monotonic() - killed
        settled = time.monotonic()
        await until("calls after that", later(results, settled + 0.5))
    failed = [began for began, said in results if said != "echo-b" and began > killed]
    last_s = max(failed, default=killed) - killed
    record_property("out_of_the_edge_s", round(out_s, 3))
    record_property("last_failed_call_began_s", round(last_s, 3))
    assert out_s < OUT_WITHIN_S
    assert last_s < OUT_WITHIN_S
    assert {said for began, said in results if began > killed + OUT_WITHIN_S} <= {"echo-b"}


async def test_a_replica_that_leaves_drains_first(mesh, replicas):
    await mesh.put_service("echo", discovery=REGISTRY)
    await asyncio.gather(replicas.start("c"), replicas.start("d"))
    await has_hosts(mesh, *replicas.ports.values())
    user = bearer(await mesh.token())
    async with mesh.channel() as channel:
        stub = EchoStub(channel)
        for _ in range(20):
            stream = stub.Chat(metadata=user)
            await stream.write(EchoMessage(text="1"))
            if (await stream.read()).backend == "echo-c":
                break
        replicas.processes["c"].terminate()  # It stays while the stream does.

        async def drains():
            return (await hosts(mesh)).get(replicas.ports["c"]) == "/eds_status_draining"

        await until("a draining endpoint", drains)
        answers = [
            (await stub.Echo(EchoMessage(text="hi"), metadata=user)).backend for _ in range(20)
        ]
        await stream.write(EchoMessage(text="2"))
        kept = await stream.read()
        await stream.done_writing()
        await has_hosts(mesh, replicas.ports["d"])
    assert (kept.text, kept.backend) == ("2", "echo-c")
    assert set(answers) == {"echo-d"}


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value).reason


def registration(address="127.0.0.1", port=4711, lease_s=10, **endpoint):
    made = rpc.Registration(endpoint=service_pb2.Endpoint(address=address, port=port, **endpoint))
    made.lease.FromTimedelta(timedelta(seconds=lease_s))
    return made


@pytest_asyncio.fixture(loop_scope="module")
async def echo_1(mesh):
    """What a process with the identity echo/1 may do; its service is there, with nothing else."""
    await mesh.put_service("echo", discovery=REGISTRY)
    async with (await mesh.workload("echo", "1")).channel(mesh.gateway_address) as channel:
        stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        stub.register = lambda *args, **kwargs: stub.Register(
            rpc.RegisterRequest(service="services/echo", registration=registration(*args, **kwargs))
        )
        yield stub
        for one in (await listed(mesh)).values():
            if one.replica.endswith("/echo/1"):
                await stub.Deregister(rpc.DeregisterRequest(name=one.name))


async def test_only_the_service_itself_may_register(mesh, echo_1):
    await mesh.put_service("shop", identity="shop", grpc_services=[], json_prefixes=[])
    request = rpc.RegisterRequest(service="services/shop", registration=registration())
    assert await refused(echo_1.Register(request)) == "NOT_YOUR_SERVICE"
    request.service = "services/nothing"
    assert await refused(echo_1.Register(request)) == "SERVICE_NOT_FOUND"
    await mesh.put_service("echo")  # Its endpoints are the catalog's alone.
    assert await refused(echo_1.register()) == "SERVICE_NOT_DISCOVERED"
    await mesh.put_service("echo", discovery=REGISTRY)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "224.0.0.1", "169.254.169.254", "240.0.0.1", "::", "shop.example"],  # noqa: S104
)
async def test_an_address_that_nobody_reaches_is_refused(echo_1, address):
    assert await refused(echo_1.register(address)) == "INVALID_REGISTRATION"


async def test_what_a_registration_may_be_is_bounded(echo_1):
    for wrong in ({"port": 0}, {"lease_s": 0.5}, {"lease_s": 301}, {"weight": 2000}, {"health": 2}):
        assert await refused(echo_1.register(**wrong)) == "INVALID_REGISTRATION", wrong
    names = [f"services/echo/registrations/{n}" for n in range(1001)]
    assert (
        await refused(echo_1.Heartbeat(rpc.HeartbeatRequest(names=names))) == "INVALID_REGISTRATION"
    )


async def test_without_an_address_it_is_where_the_call_comes_from(echo_1):
    made = (await echo_1.register(address="")).registration
    assert made.endpoint.address == "127.0.0.1"
    assert made.replica == "spiffe://aerofusion/echo/1"


async def test_nobody_takes_or_ends_what_is_anothers(mesh, echo_1):
    name = (await echo_1.register()).registration.name
    async with (await mesh.workload("echo", "2")).channel(mesh.gateway_address) as channel:
        echo_2 = registry_service_pb2_grpc.RegistryServiceStub(channel)
        request = rpc.RegisterRequest(service="services/echo", registration=registration())
        assert await refused(echo_2.Register(request)) == "ADDRESS_TAKEN"
        for call in (
            echo_2.Deregister(rpc.DeregisterRequest(name=name)),
            echo_2.Heartbeat(rpc.HeartbeatRequest(names=[name])),
        ):
            assert await refused(call) == "NOT_YOUR_REGISTRATION"
    assert (await listed(mesh))[4711].name == name


async def test_registering_again_is_the_same_registration(mesh, echo_1):
    first = (await echo_1.register()).registration
    second = (await echo_1.register(weight=7)).registration
    assert (second.name, second.create_time) == (first.name, first.create_time)
    assert (await listed(mesh))[4711].endpoint.weight == 7


async def test_a_heartbeat_tells_what_is_gone(echo_1):
    name = (await echo_1.register()).registration.name
    answer = await echo_1.Heartbeat(rpc.HeartbeatRequest(names=[name]))
    assert not answer.gone
    await echo_1.Deregister(rpc.DeregisterRequest(name=name))
    answer = await echo_1.Heartbeat(rpc.HeartbeatRequest(names=[name]))
    assert list(answer.gone) == [name]


async def test_a_lease_that_nobody_keeps_runs_out(own_mesh):
    await own_mesh.put_service("echo", discovery=REGISTRY)
    async with (await own_mesh.workload("echo", "1")).channel(own_mesh.gateway_address) as channel:
        stub = registry_service_pb2_grpc.RegistryServiceStub(channel)
        for port in (1, 2):
            request = rpc.RegisterRequest(
                service="services/echo", registration=registration(port=port)
            )
            request.registration.lease.FromTimedelta(timedelta(seconds=1 if port == 1 else 60))
            await stub.Register(request)

        async def one_left():
            return set(await listed(own_mesh)) == {2}

        await until("the end of a lease", one_left)


async def test_a_watch_goes_on_where_another_ended(mesh, echo_1):
    watch = mesh.registry.WatchRegistrations(rpc.WatchRegistrationsRequest(service="services/echo"))
    first = await watch.read()
    assert first.reset
    watch.cancel()
    name = (await echo_1.register(port=4712)).registration.name
    await echo_1.register(port=4713)
    await echo_1.Deregister(rpc.DeregisterRequest(name=name))
    again = rpc.WatchRegistrationsRequest(service="services/echo", resume_token=first.resume_token)
    watch = mesh.registry.WatchRegistrations(again)
    second = await watch.read()
    assert not second.reset
    assert [one.endpoint.port for one in second.registrations] == [4713]
    assert list(second.gone) == [name]
    await echo_1.register(port=4714)
    assert [one.endpoint.port for one in (await watch.read()).registrations] == [4714]
    watch.cancel()


async def test_a_service_without_discovery_has_only_the_catalogs(mesh, echo_1, replicas):
    await replicas.start("e")
    await has_hosts(mesh, replicas.ports["e"])
    server = await mesh.echo("static")
    await mesh.put_service("echo", server)
    await has_hosts(mesh, server.port)
