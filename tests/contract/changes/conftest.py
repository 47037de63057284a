"""Two edges of one gateway, and the telemetry service that they tell what they answer."""

import asyncio
import contextlib
import ssl
from datetime import timedelta

import aiohttp
import pytest_asyncio

from telemetry.app import serve as serve_telemetry
from telemetry.settings import Settings as TelemetrySettings
from tests.fixtures.edge import bearer, edge, free_port
from tests.fixtures.second_edge import second_edge
from tests.fixtures.serving import running


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
        other = await second_edge(made, stack, telemetry=address)
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
