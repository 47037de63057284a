"""Clients that come at once are taken up one after the other, those that hold nothing first."""

import asyncio
import contextlib
from datetime import timedelta

import grpc

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import change_service_pb2, change_service_pb2_grpc, service_pb2
from tests.contract.xds.conftest import published


async def test_who_holds_nothing_is_served_before_who_comes_back(gateway, edge):
    async with contextlib.AsyncExitStack() as stack:
        settings, port = await stack.enter_async_context(
            gateway(ads_starting_max=1, ads_barrier_timeout=timedelta(seconds=60))
        )
        operator = await stack.enter_async_context(
            grpc.aio.insecure_channel(f"unix:{settings.unix_socket}")
        )
        service = service_pb2.Service(name="services/echo")
        made = await stubs.CatalogServiceStub(operator).UpdateService(
            rpc.UpdateServiceRequest(service=service, allow_missing=True)
        )
        await published(operator, made.service.revision)
        slow, back, new = [
            await stack.enter_async_context(edge(port, f"edge-{n}"))
            for n in ("slow", "back", "new")
        ]
        await slow.ask("CDS")
        _, unanswered = await slow.hear()  # It is the only one that may begin.
        await back.ask("CDS", held={"services/gone": "1"})
        await connected(operator, 2)
        await new.ask("CDS")
        await connected(operator, 3)
        heard = []

        async def hear(name, client):
            _, answer = await client.hear()
            heard.append(name)
            await client.accept("CDS", answer)

        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            tasks.create_task(hear("back", back))
            tasks.create_task(hear("new", new))
            await slow.accept("CDS", unanswered)
        assert heard == ["new", "back"]


async def connected(operator, number):
    changes = change_service_pb2_grpc.ChangeServiceStub(operator)
    async with asyncio.timeout(10):
        while True:
            found = await changes.ListEdges(change_service_pb2.ListEdgesRequest())
            if len(found.edges) == number:
                return
            await asyncio.sleep(0.01)  # polls
