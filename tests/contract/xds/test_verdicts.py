"""What one client refuses is withheld from the others: at other replicas and after a restart."""

import asyncio
import contextlib
from datetime import timedelta

import grpc
import pytest

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import service_pb2
from tests.contract.xds.conftest import published


@contextlib.asynccontextmanager
async def catalog(settings):
    async with grpc.aio.insecure_channel(f"unix:{settings.unix_socket}") as channel:
        stub = stubs.CatalogServiceStub(channel)
        stub.channel = channel
        yield stub


def put(name, **fields):
    service = service_pb2.Service(name=f"services/{name}", **fields)
    return rpc.UpdateServiceRequest(service=service, allow_missing=True)


async def accepted_and_refused(settings, edge, port):
    """Have a client accept a cluster and refuse the next content; returns the two versions."""
    async with catalog(settings) as api, edge(port) as client:
        await api.UpdateService(put("echo"))
        await client.ask("CDS")
        first, answer = await client.hear_of("CDS", "services/echo")
        await client.accept("CDS", answer)
        await api.UpdateService(put("echo", concurrency={"connections_max": 7}))
        second, answer = await client.hear_of("CDS", "services/echo")
        assert first != second
        await client.refuse("CDS", answer, "no such thing")
        again, _ = await client.hear_of("CDS", "services/echo")
    assert again == first
    return first, second


async def served(edge, port, node_id):
    async with edge(port, node_id) as client:
        await client.ask("CDS")
        found, _ = await client.hear_of("CDS", "services/echo")
        return found


async def test_a_restarted_gateway_serves_the_last_that_was_accepted(gateway, edge):
    async with gateway() as (settings, port):
        first, _ = await accepted_and_refused(settings, edge, port)
    async with gateway(postgres_dsn=settings.postgres_dsn) as (_, port):
        assert await served(edge, port, "edge-1") == first


@pytest.mark.parametrize("hints", [True, False], ids=["by a hint", "by polling"])
async def test_another_replica_does_not_try_what_was_refused(gateway, edge, nats_server, hints):
    bus = {"catalog_poll": timedelta(seconds=0.2)}
    if hints:
        bus = {"catalog_poll": timedelta(seconds=60), "nats_url": nats_server.url}
    async with gateway(**bus) as (settings, port):
        other = settings.unix_socket.with_name("other.sock")
        dsn = settings.postgres_dsn
        async with gateway(**bus, postgres_dsn=dsn, unix_socket=other, replica="1") as (_, there):
            first, _ = await accepted_and_refused(settings, edge, port)
            async with asyncio.timeout(10):
                while True:
                    if await served(edge, there, "edge-1") == first:
                        break
                    await asyncio.sleep(0.05)  # polls


async def test_what_was_refused_gets_a_new_chance_once_it_is_another(gateway, edge):
    async with gateway() as (settings, port):
        known = await accepted_and_refused(settings, edge, port)
    async with gateway(postgres_dsn=settings.postgres_dsn) as (again, port):
        async with catalog(again) as api:
            made = await api.UpdateService(put("echo", concurrency={"connections_max": 8}))
            await published(api.channel, made.service.revision)
        async with edge(port, "edge-2") as client, asyncio.timeout(10):
            await client.ask("CDS")
            third, _ = await client.hear_of("CDS", "services/echo")
    assert third not in known


async def test_what_a_node_holds_unsaid_is_taken_away_when_it_comes_back(gateway, edge):
    async with gateway() as (settings, port):
        async with catalog(settings) as api, edge(port) as client:
            for name in ("bad", "fine", "old"):
                made = await api.UpdateService(put(name))
            await published(api.channel, made.service.revision)
            await client.ask("CDS")
            found, answer = await client.hear()
            # A client applies `fine` of this, and forgets that it has.
            await client.refuse("CDS", answer, "Error adding/updating cluster(s) services/bad: no")
            await client.hear()
            held = {"services/old": found["services/old"]}
        async with catalog(settings) as api:
            await api.DeleteService(rpc.DeleteServiceRequest(name="services/fine"))
    async with (
        gateway(postgres_dsn=settings.postgres_dsn) as (_, port),
        edge(port) as client,
        asyncio.timeout(10),
    ):
        await client.ask("CDS", held=held)
        gone = set()
        while "services/fine" not in gone:
            _, answer = await client.hear()
            gone.update(answer.removed_resources)
            await client.accept("CDS", answer)
    assert "services/old" not in gone
