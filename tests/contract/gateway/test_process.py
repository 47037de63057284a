"""The gateway as a command: exit codes, signals, and a database that goes and comes back."""

import asyncio
import contextlib
import os
import signal
import sys

import grpc
import pytest

from aerofusion.gateway.v1 import catalog_service_pb2 as rpc
from aerofusion.gateway.v1 import catalog_service_pb2_grpc as stubs
from aerofusion.gateway.v1 import service_pb2
from gateway.__main__ import main
from tests.fixtures.edge import ROOT, free_port


EX_CONFIG = 78
EX_UNAVAILABLE = 69
WITHIN_S = 30


async def start(*words, **settings):
    named = {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        *words,
        cwd=ROOT,
        env={**kept, "PYTHONPATH": os.pathsep.join(sys.path), **named},
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process):
    async with asyncio.timeout(WITHIN_S):
        _, text = await process.communicate()
    return process.returncode, text.decode()


@contextlib.asynccontextmanager
async def serving(**settings):
    """Run the command until it accepts calls on its socket; yields it and a stub."""
    process = await start("serve", **settings)
    channel = grpc.aio.insecure_channel(
        f"unix:{settings['unix_socket']}",
        options=[("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)],
    )
    drained = asyncio.ensure_future(process.stderr.read())
    try:
        async with asyncio.timeout(WITHIN_S):
            await channel.channel_ready()
        yield process, stubs.CatalogServiceStub(channel)
    finally:
        await channel.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await drained


async def settings_of(postgres, tmp_path):
    return {
        "postgres_dsn": await postgres.database("gateway"),
        "unix_socket": tmp_path / "g.sock",
        "identity_dir": tmp_path / "identity",
        "listen": f"127.0.0.1:{free_port()}",
    }


async def test_all_problems_of_the_settings_are_told_at_once():
    process = await start(
        "check-config", ads_streams_max="many", edge_listen="nowhere", misspelt="1"
    )
    code, text = await ended(process)
    assert code == EX_CONFIG
    assert "GATEWAY_ADS_STREAMS_MAX" in text
    assert "GATEWAY_MISSPELT" in text


def checked(monkeypatch, capsys, **settings):
    """What the command says of the settings: in this process, since only the first needs its own."""
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(f"GATEWAY_{name.upper()}", value)
    return main(["check-config"]), capsys.readouterr().err


@pytest.mark.parametrize("listen", ["nowhere", "localhost:1", "127.0.0.1:0", "127.0.0.1:70000"])
def test_an_edge_needs_an_address_and_a_port(monkeypatch, capsys, listen):
    code, text = checked(monkeypatch, capsys, postgres_dsn="postgres://x", edge_listen=listen)
    assert code == EX_CONFIG
    assert "GATEWAY_EDGE_LISTEN" in text


def test_good_settings_are_good(monkeypatch, capsys):
    settings = {"postgres_dsn": "postgres://x", "edge_listen": "[::1]:8443"}
    assert checked(monkeypatch, capsys, **settings) == (0, "")


async def test_sigterm_ends_it_with_0(postgres, tmp_path):
    async with serving(**await settings_of(postgres, tmp_path)) as (process, catalog):
        await catalog.ListServices(rpc.ListServicesRequest())
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WITHIN_S):
            assert await process.wait() == 0


async def test_a_taken_port_is_told_and_ends_it(postgres, tmp_path):
    settings = await settings_of(postgres, tmp_path)
    async with serving(**settings):
        settings["unix_socket"] = tmp_path / "h.sock"
        code, text = await ended(await start("serve", **settings))
        assert code == EX_UNAVAILABLE
        assert settings["listen"] in text


async def test_what_was_written_is_there_after_kill_9(postgres, tmp_path):
    settings = await settings_of(postgres, tmp_path)
    create = rpc.CreateServiceRequest(
        service_id="echo", service=service_pb2.Service(), request_id="r1"
    )
    async with serving(**settings) as (process, catalog):
        made = await catalog.CreateService(create)
        process.kill()
        await process.wait()
    async with serving(**settings) as (_, catalog):
        got = await catalog.GetService(rpc.GetServiceRequest(name="services/echo"))
        assert got.service == made.service
        assert await catalog.CreateService(create) == made


async def test_while_the_database_is_away_calls_say_so_and_then_go_on(own_postgres, tmp_path):
    settings = await settings_of(own_postgres, tmp_path)
    async with serving(**settings) as (_, catalog):
        create = rpc.CreateServiceRequest(service_id="echo", service=service_pb2.Service())
        await catalog.CreateService(create)
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await catalog.GetService(rpc.GetServiceRequest(name="services/echo"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.to_thread(own_postgres.start)
        listed = await answered(lambda: catalog.ListServices(rpc.ListServicesRequest()))
        assert [one.name for one in listed.services] == ["services/echo"]


async def answered(call):
    """Call until it isn't UNAVAILABLE."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.1)  # polls
