"""Two edges of one gateway, and the telemetry service that they tell what they answer."""

import asyncio
import contextlib
import ssl
import string
import subprocess
from datetime import timedelta

import aiohttp
import grpc
import pytest_asyncio

from gateway.compile.envoy_api import message_class
from gateway.relay.app import serve as serve_relay
from gateway.relay.settings import Settings as RelaySettings
from gateway.xds.ads import DELTA_METHOD
from gateway.xds.resources import BY_KEY
from gateway.xds.wire import DISCOVERY
from telemetry.app import serve as serve_telemetry
from telemetry.settings import Settings as TelemetrySettings
from tests.fixtures.edge import ENVOY, ROOT, bearer, edge, free_port
from tests.fixtures.serving import running


SECOND = "edge-2"
READY_WITHIN_S = 60


class Caller:
    """Calls through one of the edges."""

    def __init__(self, mesh, port, token):
        self.headers = dict(bearer(token))
        trusted = ssl.create_default_context(cadata=mesh.bundle_pem.decode())
        self.session = aiohttp.ClientSession(
            f"https://localhost:{port}", connector=aiohttp.TCPConnector(ssl=trusted)
        )

    async def status(self):
        """Call Echo over JSON; returns the HTTP status, 0 if there is no connection."""
        try:
            async with self.session.post(
                "/echo/v1/echo", json={"text": "x"}, headers=self.headers
            ) as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0


class OtherPort:
    """
    Stands between a relay and its Envoy and moves the listener to another port.

    All edges of a gateway listen on the same address, each on a host of its own; here they share
    one.
    """

    def __init__(self, relay_socket, port):
        self._channel = grpc.aio.insecure_channel(f"unix:{relay_socket}")
        self._port = port
        self.server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self._delta)
        service, _, method = DELTA_METHOD[1:].partition("/")
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )

    async def _delta(self, requests, context):
        call = self._channel.stream_stream(DELTA_METHOD)()

        async def ask():
            async for request in requests:
                await call.write(request)
            await call.done_writing()

        asking = asyncio.create_task(ask())
        try:
            async for answer in call:
                await context.write(self._moved(answer))
        finally:
            asking.cancel()
            call.cancel()

    def _moved(self, data):
        answer = message_class(f"{DISCOVERY}.DeltaDiscoveryResponse").FromString(data)
        if answer.type_url != BY_KEY["LDS"].type_url:
            return data
        for one in answer.resources:
            listener = message_class("envoy.config.listener.v3.Listener").FromString(
                one.resource.value
            )
            listener.address.socket_address.port_value = self._port
            one.resource.value = listener.SerializeToString()
        return answer.SerializeToString()

    async def close(self):
        await self.server.stop(0)
        await self._channel.close()


async def second_edge(made, telemetry, stack):
    """Start another relay and Envoy; returns the port that it takes connections on."""
    folder = made.folder / SECOND
    folder.mkdir()
    relay = RelaySettings(
        gateway_address=f"127.0.0.1:{made.gateway_port}",
        identity_dir=folder / "identity",
        join_file=await made.join_file("edge", "2", ("localhost", "127.0.0.1")),
        socket=folder / "relay" / "relay.sock",
        shelf_dir=folder / "shelf",
        telemetry_address=telemetry,
        replica="2",
    )
    await stack.enter_async_context(running(serve_relay, relay))
    port = free_port()
    between = OtherPort(relay.socket, port)
    socket = folder / "between.sock"
    between.server.add_insecure_port(f"unix:{socket}")
    await between.server.start()
    stack.push_async_callback(between.close)
    text = string.Template((ROOT / "envoy" / "bootstrap.yaml").read_text()).substitute(
        node_id=SECOND,
        admin_socket=folder / "admin.sock",
        relay_socket=socket,
        heap_bytes_max=1 << 30,
        connections_max=1000,
    )
    path = folder / "bootstrap.yaml"
    path.write_text(text)
    words = [ENVOY, "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "-l", "info"]
    with (folder / "envoy.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)  # noqa: ASYNC220
    stack.callback(process.wait)
    stack.callback(process.kill)
    return port


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh(postgres, tmp_path_factory):
    port = free_port()
    address = f"127.0.0.1:{port}"
    async with (
        edge(
            postgres, telemetry=address, telemetry_address=address, edge_linger=timedelta(0)
        ) as made,
        contextlib.AsyncExitStack() as stack,
    ):
        settings = TelemetrySettings(listen=address, state_dir=tmp_path_factory.mktemp("telemetry"))
        workload = await made.workload("telemetry")

        made.telemetry = await stack.enter_async_context(contextlib.AsyncExitStack())
        await made.telemetry.enter_async_context(
            running(serve_telemetry, settings, workload=workload)
        )
        made.servers = [await made.echo("0")]
        made.slow = await made.echo("1")
        made.slow.pause_s = 0.2
        await made.put_service("echo", made.servers[0])
        other = await second_edge(made, address, stack)
        token = await made.token()
        made.first = Caller(made, made.port, token)
        made.second = Caller(made, other, token)
        stack.push_async_callback(made.first.session.close)
        stack.push_async_callback(made.second.session.close)
        async with asyncio.timeout(READY_WITHIN_S):
            for caller in (made.second, made.first):
                while True:
                    if await caller.status() == 200:
                        break
                    await asyncio.sleep(0.05)  # polls
        yield made
