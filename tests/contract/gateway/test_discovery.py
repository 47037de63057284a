"""Who may have discovery streams, and how replicas keep up with one another."""

import asyncio
from datetime import timedelta

import grpc
import pytest

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import service_pb2
from gateway.compile.envoy_api import make, message_class
from gateway.xds.ads import DELTA_METHOD, SOTW_METHOD, AdsLimits
from meshkit.status import from_rpc_error


API = "envoy.service.discovery.v3"
CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def delta(channel):
    return channel.stream_stream(
        DELTA_METHOD,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_class(f"{API}.DeltaDiscoveryResponse").FromString,
    )()


def sotw(channel):
    return channel.stream_stream(
        SOTW_METHOD,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_class(f"{API}.DiscoveryResponse").FromString,
    )()


def first(kind=CDS, agent="envoy", node_id="edge-0", cluster=""):
    node = {"id": node_id, "user_agent_name": agent, "cluster": cluster}
    return make(f"{API}.DeltaDiscoveryRequest", node=node, type_url=kind)


async def code_of(stream):
    """The status a stream ends with; what it says before is ignored."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await stream.code()


async def reason_of(stream):
    """The reason a stream is refused for."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    return from_rpc_error(caught.value).reason


async def test_the_edge_gets_deltas_and_a_service_does_not(gateway, ca):
    async with gateway() as (_, port):
        target = f"127.0.0.1:{port}"
        async with ca.workload("edge").channel(target) as channel:
            stream = delta(channel)
            await stream.write(first())
            assert (await stream.read()).type_url == CDS
            stream.cancel()
        async with ca.workload("notifier").channel(target) as channel:
            assert await code_of(delta(channel)) is grpc.StatusCode.PERMISSION_DENIED
            stream = sotw(channel)
            node = {"id": "notifier-0", "user_agent_name": "envoy"}
            await stream.write(make(f"{API}.DiscoveryRequest", node=node, type_url=CDS))
            assert await code_of(stream) is grpc.StatusCode.PERMISSION_DENIED
            stream = sotw(channel)
            node["user_agent_name"] = "gRPC C-core"
            await stream.write(make(f"{API}.DiscoveryRequest", node=node, type_url=CDS))
            assert (await stream.read()).type_url == CDS
            stream.cancel()


async def test_an_edge_may_not_be_the_preflight(gateway, ca):
    async with (
        gateway() as (settings, port),
        ca.workload("edge").channel(f"127.0.0.1:{port}") as edge,
        grpc.aio.insecure_channel(f"unix:{settings.unix_socket}") as operator,
    ):
        stream = delta(edge)
        await stream.write(first(node_id="edge-0", cluster="preflight"))
        assert await reason_of(stream) == "CALLER_NOT_ALLOWED"
        stream = delta(operator)
        await stream.write(first(node_id="preflight", cluster="preflight"))
        assert (await stream.read()).type_url == CDS
        stream.cancel()


async def test_a_node_is_one_of_its_certificates_service(gateway, ca):
    async with gateway() as (_, port):
        target = f"127.0.0.1:{port}"
        async with (
            ca.workload("edge").channel(target) as one,
            ca.workload("edge", "1").channel(target) as other,
        ):
            for stranger in ("notifier-0", "edgeless", ""):
                stream = delta(one)
                await stream.write(first(node_id=stranger))
                assert await reason_of(stream) == "NODE_NOT_YOURS"
            held = delta(one)
            await held.write(first())
            await held.read()
            stream = delta(other)
            await stream.write(first())
            assert await reason_of(stream) == "NODE_IN_USE"
            held.cancel()


async def test_a_service_may_not_write_the_catalog(gateway, ca):
    async with gateway() as (_, port), ca.workload("notifier").channel(f"127.0.0.1:{port}") as it:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stubs.CatalogServiceStub(it).ListServices(rpc.ListServicesRequest())
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_beyond_the_bound_is_refused(gateway, ca):
    async with (
        gateway(ads_streams_max=1) as (_, port),
        ca.workload("edge").channel(f"127.0.0.1:{port}") as channel,
    ):
        held = delta(channel)
        await held.write(first())
        await held.read()
        assert await code_of(delta(channel)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        held.cancel()


async def test_malformed_requests_end_the_stream_with_a_reason(gateway, ca):
    async with (
        gateway() as (_, port),
        ca.workload("edge").channel(f"127.0.0.1:{port}") as channel,
    ):
        stream = channel.stream_stream(DELTA_METHOD)()
        await stream.write(b"\xff\xff")
        assert await code_of(stream) is grpc.StatusCode.INVALID_ARGUMENT
        stream = delta(channel)
        await stream.write(first())
        await stream.read()
        names = [f"n{number}" for number in range(AdsLimits().names_max + 1)]
        await stream.write(
            make(f"{API}.DeltaDiscoveryRequest", type_url=CDS, resource_names_subscribe=names)
        )
        assert await code_of(stream) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stopping_gateway_ends_its_streams(gateway, ca):
    async with gateway() as (_, port):
        channel = ca.workload("edge").channel(f"127.0.0.1:{port}")
        stream = delta(channel)
        await stream.write(first())
        await stream.read()
    assert await code_of(stream) is grpc.StatusCode.UNAVAILABLE
    await channel.close()


@pytest.mark.parametrize("hints", [True, False], ids=["by a hint", "by polling"])
async def test_a_change_reaches_the_clients_of_another_replica(gateway, ca, nats_server, hints):
    bus = {"catalog_poll": timedelta(seconds=0.1)}
    if hints:
        bus = {"catalog_poll": timedelta(seconds=60), "nats_url": nats_server.url}
    async with gateway(**bus) as (settings, _):
        other = settings.unix_socket.with_name("other.sock")
        dsn = settings.postgres_dsn
        async with (
            gateway(**bus, postgres_dsn=dsn, unix_socket=other, replica="1") as (_, port),
            ca.workload("edge").channel(f"127.0.0.1:{port}") as channel,
            grpc.aio.insecure_channel(f"unix:{settings.unix_socket}") as operator,
        ):
            stream = delta(channel)
            await stream.write(first())
            empty = await stream.read()
            await stream.write(
                make(f"{API}.DeltaDiscoveryRequest", type_url=CDS, response_nonce=empty.nonce)
            )
            create = rpc.CreateServiceRequest(service_id="echo", service=service_pb2.Service())
            await stubs.CatalogServiceStub(operator).CreateService(create)
            async with asyncio.timeout(10):
                (resource,) = (await stream.read()).resources
            assert resource.name == "services/echo"
            stream.cancel()
