"""The second process pages when telemetry stands still; both are real."""

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web

from telemetry.deadman.app import serve as serve_deadman
from telemetry.deadman.settings import Settings
from tests.contract.telemetry_alerts.reaching import ready


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.


@pytest.fixture
async def told():
    """What a webhook is told, and its address; it takes nothing at the first try."""
    queue, tried = asyncio.Queue(), set()

    async def post(request):
        page = await request.json()
        if page["why"] not in tried:
            tried.add(page["why"])
            return web.Response(status=503)
        await queue.put(page)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    queue.address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
    yield queue
    await runner.cleanup()


async def test_it_pages_when_telemetry_is_gone_and_again_when_it_is_back(
    running, dsn, run_serve, told, tmp_path
):
    socket = tmp_path / "http.sock"
    settings = Settings(
        telemetry_socket=socket,
        interval=timedelta(seconds=0.1),
        stalled_after=timedelta(seconds=2),
        webhooks=told.address,
    )
    async with running(dsn, http_unix_socket=socket) as service:
        await ready(service)
        await service.apply()
        async with run_serve(serve_deadman, settings):
            pass  # It is well, and says nothing.
        assert told.empty()
    async with run_serve(serve_deadman, settings):
        async with asyncio.timeout(20):
            page = await told.get()
        assert (page["why"], page["alerts"][0]["alertname"]) == ("firing", "RulesStandStill")
        async with running(dsn, http_unix_socket=socket):
            async with asyncio.timeout(40):
                page = await told.get()
        assert page["why"] == "resolved"
