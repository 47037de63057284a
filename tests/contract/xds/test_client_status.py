"""What every discovery client has and hasn't, as tools that speak Envoy's CSDS read it."""

import grpc
import pytest

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import service_pb2
from gateway.compile.envoy_api import make, message_class
from gateway.services.client_status import SERVICE
from meshkit.status import from_rpc_error
from tests.contract.xds.conftest import published


STATUS = "envoy.service.status.v3"


def matcher(**pattern):
    return {"node_matchers": [{"node_id": pattern}]}


def fetch(channel, **fields):
    return channel.unary_unary(
        f"/{SERVICE}/FetchClientStatus",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_class(f"{STATUS}.ClientStatusResponse").FromString,
    )(make(f"{STATUS}.ClientStatusRequest", **fields))


def states(answer):
    numbers = {0: "UNKNOWN", 1: "SYNCED", 2: "NOT_SENT", 3: "STALE", 4: "ERROR"}
    return {
        (config.node.id, one.name): numbers[one.config_status]
        for config in answer.config
        for one in config.generic_xds_configs
    }


async def test_each_resource_of_each_client_has_a_state(gateway, edge, ca):
    async with (
        gateway() as (settings, port),
        edge(port) as client,
        grpc.aio.insecure_channel(f"unix:{settings.unix_socket}") as operator,
    ):
        catalog = stubs.CatalogServiceStub(operator)
        for name in ("bad", "good"):
            service = service_pb2.Service(name=f"services/{name}")
            made = await catalog.UpdateService(
                rpc.UpdateServiceRequest(service=service, allow_missing=True)
            )
        await published(operator, made.service.revision)
        await client.ask("CDS")
        _, answer = await client.hear()
        waiting = await fetch(operator, **matcher(exact="edge-0"))
        assert set(states(waiting).values()) == {"STALE"}

        await client.refuse("CDS", answer, "Error adding/updating cluster(s) services/bad: no")
        found, answer = await client.hear()
        assert found.keys() == {"services/good"}
        await client.accept("CDS", answer)
        await client.ask("EDS", "services/nobody")
        await client.hear()
        seen = await fetch(operator, **matcher(prefix="edge"))
        assert states(seen) == {
            ("edge-0", "services/good"): "SYNCED",
            ("edge-0", "services/nobody"): "NOT_SENT",
        }
        (config,) = seen.config
        good = next(o for o in config.generic_xds_configs if o.name == "services/good")
        assert good.version_info == found["services/good"]
        assert good.xds_config.type_url.endswith("Cluster")
        bare = await fetch(operator, exclude_resource_contents=True)
        assert not any(o.HasField("xds_config") for o in bare.config[0].generic_xds_configs)
        assert not (await fetch(operator, **matcher(exact="edge-7"))).config


async def test_matchers_that_are_not_understood_are_refused(gateway):
    async with (
        gateway() as (settings, _),
        grpc.aio.insecure_channel(f"unix:{settings.unix_socket}") as operator,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetch(operator, **matcher(suffix="0"))
        assert from_rpc_error(caught.value).reason == "NODE_MATCHER_UNKNOWN"


async def test_only_operators_read_the_state(gateway, ca):
    async with (
        gateway() as (_, port),
        ca.workload("notifier").channel(f"127.0.0.1:{port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await fetch(channel)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
