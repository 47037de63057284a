"""syncd as a process: killed under load, and a database that goes away. Nothing acknowledged is lost."""

import asyncio
import contextlib
import os
import signal
import socket
import sys

import grpc
import pytest

from aerofusion.sync.v1 import sync_service_pb2 as contract
from aerofusion_client import Backoff, SyncClient
from meshkit.identity import IdentityFolder
from tests.contract.syncd.conftest import (
    BOARD,
    Running,
    batch,
    create_board,
    reason,
    setting,
    started,
)


SOON = Backoff(first_s=0.01, most_s=0.1)


class Process:
    """`python -m syncd serve`, on a port of its own."""

    def __init__(self, ca, dsn, folder):
        self.identity = IdentityFolder(folder / "identity")
        self.identity.write(ca.material("syncd"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.notices = folder / "notify"
        self.environment = {
            **os.environ,
            "SYNCD_POSTGRES_DSN": dsn,
            "SYNCD_LISTEN": f"127.0.0.1:{self.port}",
            "SYNCD_IDENTITY_DIR": str(folder / "identity"),
            "NOTIFY_SOCKET": str(self.notices),
        }

    async def start(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            self.notices.unlink(missing_ok=True)
            notices.bind(str(self.notices))
            notices.setblocking(False)
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "syncd", "serve", env=self.environment
            )
            told = await asyncio.get_running_loop().sock_recv(notices, 1024)
        assert told.startswith(b"READY=1")

    async def kill(self):
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


@pytest.fixture
async def process(ca, dsn, tmp_path):
    process = Process(ca, dsn, tmp_path)
    await process.start()
    yield process
    if process.process.returncode is None:
        await process.kill()


async def test_killed_under_load_it_comes_back_with_all_it_acknowledged(process, ca):
    running = Running(ca, process.port)
    await create_board(running)
    acknowledged: dict[str, int] = {}
    stop, progress = asyncio.Event(), asyncio.Condition()

    async def each_acknowledged(count):
        acknowledged.clear()
        async with progress:
            await progress.wait_for(
                lambda: len(acknowledged) == 8 and min(acknowledged.values()) >= count
            )

    async def write(device):
        number = 0
        while not stop.is_set():
            number += 1
            mutation = setting(number, device, delay_minutes=number, base_seq=0)
            request = contract.PushRequest(space=BOARD, device_id=device, batch=batch(mutation))
            while not stop.is_set():
                with contextlib.suppress(grpc.aio.AioRpcError):
                    ack = await running.sync().Push(request, timeout=2, wait_for_ready=True)
                    assert ack.ack.results[0].seq
                    async with progress:
                        acknowledged[device] = number
                        progress.notify_all()
                    break

    async with SyncClient(
        channel=running.channel("flightinfo"), store=":memory:", backoff=SOON
    ) as client:
        board = client.follow(BOARD)
        await board.synced()
        writers = [asyncio.ensure_future(write(f"d{n}")) for n in range(8)]
        await each_acknowledged(5)
        await process.kill()
        await process.start()
        await each_acknowledged(1)
        stop.set()
        await asyncio.gather(*writers)
        listed = await running.sync().ListRecords(contract.ListRecordsRequest(parent=BOARD))
        kept = {r.name.rpartition("/")[2]: r.cells[0].value.integer_value for r in listed.records}
        assert kept.keys() == acknowledged.keys()
        assert all(kept[device] >= acknowledged[device] for device in kept)
        expected = {device: {"delay_minutes": value} for device, value in kept.items()}
        changes = board.changes()
        news = asyncio.ensure_future(anext(changes))
        while board.records() != expected:
            await news
            news = asyncio.ensure_future(anext(changes))
        news.cancel()
        assert client.status.heals == 0
    await running.close()


async def test_it_stops_within_its_grace_when_asked_to(process, ca):
    running = Running(ca, process.port)
    await create_board(running)
    async with SyncClient(channel=running.channel("flightinfo"), store=":memory:") as client:
        await client.follow(BOARD).synced()
        async with asyncio.timeout(5):
            assert await process.stop() == 0
    await running.close()


async def test_a_database_that_goes_away_is_told_and_waited_for(run_serve, ca, own_postgres):
    dsn = await own_postgres.database("syncd")
    async with started(run_serve, ca, dsn) as syncd:
        await create_board(syncd)
        channel = syncd.channel("flightinfo")
        async with SyncClient(channel=channel, store=":memory:", backoff=SOON) as client:
            board = client.follow(BOARD)
            await board.set("UA1", {"gate": "A1"})
            await board.synced()
            await asyncio.to_thread(own_postgres.kill)
            request = contract.PushRequest(
                space=BOARD, device_id="d", batch=batch(setting(1, gate="B1"))
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await syncd.sync().Push(request)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert reason(caught.value) == "POSTGRES_UNAVAILABLE"
            await board.set("UA2", {"gate": "A2"})
            await asyncio.to_thread(own_postgres.start)
            async with asyncio.timeout(30):
                await board.synced()
            assert board.records() == {"UA1": {"gate": "A1"}, "UA2": {"gate": "A2"}}
