"""The registry of several gateways on one database, and of one that goes and comes back."""

import asyncio
import contextlib
from datetime import timedelta

import grpc
import pytest

from aerofusion.gateway.v1 import (
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    registry_service_pb2_grpc,
    service_pb2,
)
from aerofusion.gateway.v1 import registry_service_pb2 as rpc
from gateway.app import serve
from gateway.settings import Settings
from meshkit.registration import registered
from tests.fixtures.endpoints import until
from tests.fixtures.serving import running


ECHO = "services/echo"


class Fleet:
    """Gateways that share a database, and replicas of `echo` that call them."""

    def __init__(self, dsn, folder, ca, nats):
        self.dsn, self.folder, self.ca, self.nats = dsn, folder, ca, nats
        self.numbers = iter(range(100))

    @contextlib.asynccontextmanager
    async def gateway(self, **settings):
        number = str(next(self.numbers))
        given = Settings(
            postgres_dsn=self.dsn,
            replica=number,
            nats_url=self.nats.url,
            unix_socket=self.folder / f"{number}.sock",
            identity_dir=self.folder / "identity",
            **settings,
        )
        workload = self.ca.workload("gateway", number)
        async with running(serve, given, workload=workload) as port:
            socket = f"unix:{given.unix_socket}"
            async with (
                grpc.aio.insecure_channel(socket) as operator,
                self.ca.workload("echo").channel(f"127.0.0.1:{port}") as channel,
            ):
                yield Gateway(f"127.0.0.1:{port}", operator, channel)


class Gateway:
    def __init__(self, address, operator, channel):
        self.address = address
        self.operator = registry_service_pb2_grpc.RegistryServiceStub(operator)
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(operator)
        self.replica = registry_service_pb2_grpc.RegistryServiceStub(channel)

    async def create(self):
        discovery = service_pb2.Discovery(registry=service_pb2.RegistryDiscovery())
        service = service_pb2.Service(name=ECHO, discovery=discovery)
        request = catalog_service_pb2.UpdateServiceRequest(service=service, allow_missing=True)
        await self.catalog.UpdateService(request)

    async def register(self, port, lease_s=10):
        registration = rpc.Registration(
            endpoint=service_pb2.Endpoint(address="127.0.0.1", port=port)
        )
        registration.lease.FromTimedelta(timedelta(seconds=lease_s))
        request = rpc.RegisterRequest(service=ECHO, registration=registration)
        return (await self.replica.Register(request)).registration.name

    async def keep(self, *names):
        """Keep leases on a stream, until it is cancelled."""
        call = self.replica.KeepAlive()
        await call.write(rpc.KeepAliveRequest(names=names))
        assert not (await call.read()).gone
        return call

    async def ports(self):
        answer = await self.operator.ListRegistrations(rpc.ListRegistrationsRequest(service=ECHO))
        return {one.endpoint.port for one in answer.registrations}

    async def has(self, *ports, within_s=30.0):
        async def condition():
            return await self.ports() == set(ports)

        await until(f"{ports}", condition, within_s)


@pytest.fixture
async def fleet(postgres, ca, nats_server, tmp_path):
    return Fleet(await postgres.database("gateway"), tmp_path, ca, nats_server)


async def test_what_one_gateway_is_told_the_others_know(fleet):
    async with fleet.gateway() as one, fleet.gateway() as two:
        await one.create()
        name = await one.register(1)
        await two.has(1)
        watch = two.operator.WatchRegistrations(rpc.WatchRegistrationsRequest(service=ECHO))
        token = (await watch.read()).resume_token
        await one.replica.Deregister(rpc.DeregisterRequest(name=name))
        assert list((await watch.read()).gone) == [name]
        # Where one gateway's watch ended, that of another goes on.
        again = rpc.WatchRegistrationsRequest(service=ECHO, resume_token=token)
        step = await one.operator.WatchRegistrations(again).read()
        assert (step.reset, list(step.gone)) == (False, [name])


async def test_a_replica_that_goes_to_another_gateway_loses_nothing(fleet):
    async with fleet.gateway() as one, fleet.gateway() as two:
        await one.create()
        moved, ended = await one.register(1), await one.register(2)
        first = await one.keep(moved, ended)
        await two.has(1, 2)
        first.cancel()  # As when a process is killed, or its connection breaks.
        second = await two.keep(moved)
        await two.has(1)
        await one.has(1)
        second.cancel()
        await one.has()


async def test_no_broken_stream_is_taken_for_one_that_came_to_its_end(fleet):
    # gRPC may tell a handler of the end of the requests before it tells of the cancellation.
    async with fleet.gateway() as one:
        await one.create()
        names = await asyncio.gather(*(one.register(port, lease_s=300) for port in range(1, 201)))
        for stream in await asyncio.gather(*(one.keep(name) for name in names)):
            stream.cancel()
        await one.has()


async def test_leases_survive_a_restart_and_a_long_absence_of_the_gateway(fleet):
    async with fleet.gateway() as one:
        await one.create()
        name = await one.register(1, lease_s=1)
        await one.register(2, lease_s=1)
        stream = await one.keep(name)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await stream.read()
    async with fleet.gateway(registry_outage_grace=timedelta(seconds=2)) as again:
        assert await again.ports() == {1, 2}
        await again.keep(name)
        clock = asyncio.get_running_loop().time
        began = clock()

        async def past_their_leases():
            assert clock() - began > 1.4 or await again.ports() == {1, 2}
            return clock() - began > 1.4

        await until("more than a lease", past_their_leases)
        stopped = asyncio.Event()

        async def heartbeats():
            while not stopped.is_set():
                await again.replica.Heartbeat(rpc.HeartbeatRequest(names=[name]))
                await asyncio.sleep(0.2)  # paces

        beating = asyncio.create_task(heartbeats())
        await again.has(1)  # Nobody came back for the other.
        stopped.set()
        await beating


async def test_the_helper_finds_its_way_back_and_leaves_in_good_order(fleet, ca):
    async with fleet.gateway() as one:
        await one.create()
        listen = one.address
    async with contextlib.AsyncExitStack() as stack:
        registrar = await stack.enter_async_context(
            registered(ca.workload("echo"), listen, ECHO, port=7, lease=timedelta(seconds=1))
        )
        assert not registrar.found.is_set()  # Nobody is there; that stops nothing.
        async with fleet.gateway(listen=listen) as two:
            async with asyncio.timeout(10):
                await registrar.found.wait()
            assert await two.ports() == {7}
        async with fleet.gateway(
            listen=listen, registry_outage_grace=timedelta(seconds=1)
        ) as three:
            await three.has(7)
            await registrar.drain(timedelta(seconds=30))
            answer = await three.operator.ListRegistrations(
                rpc.ListRegistrationsRequest(service=ECHO)
            )
            assert [one.endpoint.health for one in answer.registrations] == [
                service_pb2.HEALTH_DRAINING
            ]
            await stack.aclose()
            await three.has()
