"""A connection without requests ends by itself; one with a stream on it doesn't."""

import asyncio
import ssl
from datetime import timedelta

import pytest

from tests.fixtures.echo import EchoMessage, EchoStub
from tests.fixtures.edge import bearer, edge


pytestmark = pytest.mark.timeout(120)

WITHIN_S = 60


async def test_an_idle_connection_is_closed_and_one_with_a_stream_is_not(postgres):
    async with edge(postgres, edge_idle_connection_timeout=timedelta(seconds=1)) as mesh:
        server = await mesh.echo()
        server.heard = asyncio.Semaphore(0)
        await mesh.put_service("echo", server)
        await mesh.settled()
        trusted = ssl.create_default_context(cadata=mesh.bundle_pem.decode())
        async with mesh.channel() as channel, asyncio.timeout(WITHIN_S):
            metadata = bearer(await mesh.token())
            ticks = EchoStub(channel).Ticks(EchoMessage(text="x", ticks=2), metadata=metadata)
            assert (await ticks.read()).text == "x 0"
            # Two idle connections, one after the other, have come and gone before the stream goes on.
            for _ in range(2):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", mesh.port, ssl=trusted, server_hostname="localhost"
                )
                assert await reader.read() == b""
                writer.close()
            server.heard.release()
            assert (await ticks.read()).text == "x 1"
