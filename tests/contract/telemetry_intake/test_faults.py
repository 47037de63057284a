"""Faults under the store: killed in the middle of an insert, a full disk, a second process."""

import asyncio
import contextlib
import os
import subprocess
import time

import pytest

from meshkit.errors import Overloaded
from telemetry.app import open_store
from telemetry.intake.service import METHODS
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.process import Service
from tests.contract.telemetry_intake.running import opened


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def service(settings, ca, tmp_path):
    made = Service(settings, ca, tmp_path / "s")
    yield made
    made.end()


async def points(sessions):
    """How many samples of `g` there are, and how many different ones."""
    answer = await sessions.query(
        "SELECT count(), uniqExact(number) FROM samples WHERE series_id IN"
        " (SELECT series_id FROM series WHERE name = 'g')",
        "TSV",
    )
    return tuple(map(int, answer.split()))


@pytest.mark.timeout(180)
async def test_a_kill_in_the_middle_of_an_insert_loses_and_doubles_nothing(settings, service):
    log = settings.state_dir / "log" / "metrics"
    channel = await service.start()
    async with channel:
        export = channel.unary_unary(METHODS[Signal.METRICS])
        now = time.time_ns()
        for n in range(10):
            values = range(n * 20_000, (n + 1) * 20_000)
            await export(otlp_requests.gauges("g", values, now + n * 10**6))
        # The file that the engine reads is there for as long as it inserts.
        async with asyncio.timeout(30):
            while not list(log.glob("*.part")):  # noqa: ASYNC110 - the folder tells nobody
                await asyncio.sleep(0.001)  # polls
        service.kill()
    assert list(log.glob("*.pb"))

    async with opened(settings) as (sessions, pipeline):
        await pipeline.loader.recovered.wait()

        assert await points(sessions) == (200_000, 200_000)
        assert pipeline.ledger.rows_loaded == pipeline.ledger.rows_logged


@pytest.mark.timeout(60)
async def test_a_second_process_on_the_folder_says_so_and_ends(settings, service, tmp_path, ca):
    async with open_store(settings):
        other = Service(settings, ca, tmp_path / "other")
        code, said = await asyncio.to_thread(other.refused)

    assert code == 69
    assert "is open in another process" in said


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 48 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "telemetry-test", str(folder)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert mounted.returncode == 0, (
        f"a full disk needs the right to mount one (root, or CAP_SYS_ADMIN): {mounted.stderr}"
    )
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_refuses_and_loses_nothing(small_disk):
    settings = Settings(state_dir=small_disk / "state")
    ballast = small_disk / "ballast"
    async with opened(settings) as (sessions, pipeline):
        acknowledged = 0
        refused: list[str] = []
        _fill(ballast)
        while not refused:
            request = otlp_requests.gauges(
                "g", range(acknowledged, acknowledged + 500), time.time_ns()
            )
            try:
                await pipeline.intake.accept(Signal.METRICS, request)
                acknowledged += 500
            except Overloaded as error:
                refused.append(error.reason)
        assert refused == ["DISK_FULL"]
        ballast.unlink()
        await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("g", [-1.0], time.time_ns())
        )
        await pipeline.loader.flush()

        assert await points(sessions) == (acknowledged + 1, acknowledged + 1)
        assert pipeline.ledger.rows_loaded == pipeline.ledger.rows_logged


def _fill(path):
    """Leave 256 KiB, of which the log takes some and the engine finds none."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))
    os.truncate(path, max(0, path.stat().st_size - 262_144))
