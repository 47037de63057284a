"""Gateways on a real PostgreSQL, and discovery clients that say what a test has them say."""

import asyncio
import contextlib

import pytest

from aerofusion.gateway.v1 import config_status_service_pb2, config_status_service_pb2_grpc
from gateway.compile.envoy_api import make, message_class
from gateway.xds.ads import DELTA_METHOD
from gateway.xds.resources import BY_KEY
from tests.contract.gateway.conftest import gateway  # noqa: F401 - a fixture


API = "envoy.service.discovery.v3"


class Client:
    """One delta stream."""

    def __init__(self, channel, node_id):
        self.call = channel.stream_stream(
            DELTA_METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(f"{API}.DeltaDiscoveryResponse").FromString,
        )()
        self.node = {"id": node_id, "user_agent_name": "envoy"}

    async def ask(self, key, *names, held=None, nonce="", error="", unsubscribe=()):
        fields = {"error_detail": {"code": 3, "message": error}} if error else {}
        await self.call.write(
            make(
                f"{API}.DeltaDiscoveryRequest",
                node=self.node,
                type_url=BY_KEY[key].type_url,
                resource_names_subscribe=names,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=held or {},
                response_nonce=nonce,
                **fields,
            )
        )

    async def hear(self):
        """The next response: the versions of what is in it by name, and the rest of it."""
        answer = await self.call.read()
        return {one.name: one.version for one in answer.resources}, answer

    async def hear_of(self, key, *names):
        """The first response that has all of *names*; what comes before is accepted."""
        async with asyncio.timeout(10):
            while True:
                found, answer = await self.hear()
                if found.keys() >= set(names):
                    return found, answer
                await self.accept(key, answer)

    async def refuse(self, key, answer, error):
        await self.ask(key, nonce=answer.nonce, error=error)

    async def accept(self, key, answer):
        await self.ask(key, nonce=answer.nonce)


async def published(operator, revision):
    """Wait until the catalog's revision is what clients are given."""
    stub = config_status_service_pb2_grpc.ConfigStatusServiceStub(operator)
    async with asyncio.timeout(10):
        while True:
            status = await stub.GetConfigStatus(
                config_status_service_pb2.GetConfigStatusRequest(node_id="nobody")
            )
            if status.revision >= revision:
                return
            await asyncio.sleep(0.01)  # polls


@pytest.fixture
def edge(ca):
    """Open a delta stream to a port: `async with edge(port) as client:`."""

    @contextlib.asynccontextmanager
    async def start(port, node_id="edge-0"):
        async with ca.workload("edge").channel(f"127.0.0.1:{port}") as channel:
            client = Client(channel, node_id)
            try:
                yield client
            finally:
                client.call.cancel()

    return start
