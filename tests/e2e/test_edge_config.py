"""A hundred changes of the edge's configuration under load: nobody may notice."""

import asyncio
import time
from collections import Counter

import grpc
import pytest

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import route_pb2, service_pb2
from tests.fixtures.echo import SERVICE, EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CHANGES = 100
CHANGE_EVERY_S = 0.2
CALLS_PER_SECOND = 200
STREAMS = 20
DEADLINE_S = 10


async def test_a_hundred_changes_fail_no_call_and_cut_no_stream(postgres):
    async with edge(postgres) as mesh:
        servers = [await mesh.echo(str(number)) for number in range(3)]
        await mesh.put_service("echo", *servers[:2])
        await mesh.settled()
        user = bearer(await mesh.token())
        async with mesh.channel() as for_calls, mesh.channel() as for_streams:
            load = Load(EchoStub(for_calls), EchoStub(for_streams), user)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.run(tasks))
                await change_often(mesh, servers)
                await mesh.settled()
                load.stop.set()
            assert load.failures == Counter()
            assert load.streams_cut == []
            assert load.answered > CHANGES * CHANGE_EVERY_S * CALLS_PER_SECOND * 0.9
            assert len(load.backends) == len(servers)


class Load:
    """An open loop of calls, and streams that say something every 50 ms."""

    def __init__(self, calls, streams, user):
        self.stop = asyncio.Event()
        self.failures = Counter()
        self.streams_cut = []
        self.answered = 0
        self.backends = set()
        self._calls, self._streams, self._user = calls, streams, user

    async def run(self, tasks):
        for number in range(STREAMS):
            tasks.create_task(self._chat(number))
        started, number = time.monotonic(), 0
        while not self.stop.is_set():
            tasks.create_task(self._call())
            number += 1
            due = started + number / CALLS_PER_SECOND
            await asyncio.sleep(max(0, due - time.monotonic()))  # paces

    async def _call(self):
        try:
            answer = await self._calls.Echo(
                EchoMessage(text="x"), metadata=self._user, timeout=DEADLINE_S
            )
        except grpc.aio.AioRpcError as error:
            self.failures[f"{error.code().name} {error.details()}"] += 1
        else:
            self.answered += 1
            self.backends.add(answer.backend)

    async def _chat(self, number):
        chat = self._streams.Chat(metadata=self._user)
        try:
            while not self.stop.is_set():
                await chat.write(EchoMessage(text=str(number)))
                async with asyncio.timeout(DEADLINE_S):
                    assert (await chat.read()).text == str(number)
                await asyncio.sleep(0.05)  # paces
            await chat.done_writing()
            assert await chat.read() is grpc.aio.EOF
            assert await chat.code() is grpc.StatusCode.OK
        except (grpc.aio.AioRpcError, AssertionError, TimeoutError, asyncio.InvalidStateError) as e:
            self.streams_cut.append(f"{number}: {e!r}")


async def change_often(mesh, servers):
    """Make each kind of change in turn, without waiting for the one before to be in force."""
    changes = [
        lambda n: mesh.put_service("echo", servers[n % 3]),  # Other endpoints.
        lambda n: mesh.put_service("echo", *servers, description=f"{n}"),
        lambda n: mesh.put_service(  # Another cluster: it warms again.
            "echo", *servers, concurrency=service_pb2.ConcurrencyLimits(requests_max=2000 + n)
        ),
        lambda n: split(mesh, servers),
        lambda n: mesh.put_service(  # Other routes: limits, roles.
            "echo",
            *servers,
            unary_timeout={"seconds": 20 + n % 7},
            access=service_pb2.Access(roles=["passenger"]),
        ),
        lambda n: mesh.put_service("other", servers[2], **spare(n)),  # Comes, and goes below.
        lambda n: join(mesh),
        lambda n: mesh.catalog.DeleteService(rpc.DeleteServiceRequest(name="services/other")),
        lambda n: mesh.put_service("echo", *servers, json_prefixes=["echo", f"area{n % 3}"]),
        lambda n: mesh.put_service(
            "echo", *servers[:2], rate_limit=service_pb2.RateLimit(burst=9000, per_second=9000)
        ),
    ]
    for number in range(CHANGES):
        started = time.monotonic()
        await changes[number % len(changes)](number)
        await asyncio.sleep(max(0, started + CHANGE_EVERY_S - time.monotonic()))  # paces


def spare(number):
    return {
        "grpc_services": [f"test.spare{number}.v1.SpareService"],
        "json_prefixes": [f"spare{number}"],
        "descriptor_set": b"",
        "access": service_pb2.Access(public=number % 2 == 0),
    }


async def split(mesh, servers):
    """Give half of the calls to a service that is new, too."""
    nothing = {"grpc_services": [], "json_prefixes": [], "descriptor_set": b""}
    await mesh.put_service("half", servers[1], **nothing)
    route = route_pb2.Route(
        name="services/echo/routes/half",
        match=route_pb2.RouteMatch(grpc_service=SERVICE, grpc_method="Echo"),
        destinations=[
            route_pb2.Destination(service="services/half", weight=1),
            route_pb2.Destination(service="services/echo", weight=1),
        ],
    )
    await mesh.catalog.UpdateRoute(rpc.UpdateRouteRequest(route=route, allow_missing=True))


async def join(mesh):
    """Take the route and the cluster it leads to away at once, under its calls."""
    await mesh.catalog.DeleteRoute(rpc.DeleteRouteRequest(name="services/echo/routes/half"))
    await mesh.catalog.DeleteService(rpc.DeleteServiceRequest(name="services/half"))
