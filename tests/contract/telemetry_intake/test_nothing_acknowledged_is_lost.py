"""The way in over crashes, damage and refusals; the log, the tables and the engine are real."""

import asyncio
import contextlib
import resource
import shutil
import signal as signals
import time
from datetime import timedelta

import grpc
import pytest

from meshkit.errors import FailedPrecondition, Overloaded
from telemetry.app import open_pipeline, open_store
from telemetry.intake.service import METHODS
from telemetry.log.records import seal
from telemetry.scan.scanner import Scanner
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.process import Service


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state")


@contextlib.asynccontextmanager
async def opened(settings):
    async with (
        open_store(settings) as sessions,
        open_pipeline(settings, sessions, Scanner()) as pipeline,
    ):
        yield sessions, pipeline


async def points(sessions):
    """How many samples there are, and how many different ones."""
    answer = await sessions.query("SELECT count(), uniqExact(number) FROM samples", "TSV")
    return tuple(map(int, answer.split()))


def balanced(ledger):
    return all(
        one.received == one.stored + sum(one.refused.values()) for one in ledger.accounts.values()
    )


async def test_what_is_accepted_is_found_after_a_flush_and_the_ledger_balances(settings):
    now = time.time_ns()
    async with opened(settings) as (sessions, pipeline):
        for signal, request in otlp_requests.REQUESTS.items():
            accepted = await pipeline.intake.accept(signal, request(now))
            assert accepted.refused > 0
            assert accepted.message
        await pipeline.loader.flush()
        ledger = pipeline.ledger

        assert balanced(ledger)
        assert ledger.rows_loaded == ledger.rows_logged
        in_all = await sessions.query(
            "SELECT (SELECT count() FROM samples) + (SELECT count() FROM histograms)"
            " + (SELECT count() FROM exemplars)",
            "TSV",
        )
        assert int(in_all) == ledger.rows_loaded[Signal.METRICS]
        assert list((settings.state_dir / "log").glob("*/*.pb")) == []


async def test_what_is_accepted_is_soon_found_without_being_asked_for(tmp_path):
    settings = Settings(state_dir=tmp_path / "state", segment_age=timedelta(milliseconds=50))
    async with opened(settings) as (sessions, pipeline):
        await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("g", range(3), time.time_ns())
        )
        async with asyncio.timeout(20):
            while await points(sessions) != (3, 3):  # noqa: ASYNC110 - the tables tell nobody
                await asyncio.sleep(0.02)  # polls

        assert pipeline.ledger.rows_loaded[Signal.METRICS] == 3


async def test_a_segment_that_is_loaded_and_still_there_is_not_loaded_again(settings, tmp_path):
    segment, kept = await _load_and_keep_the_segment(settings, tmp_path)
    shutil.copy(kept, segment)

    async with opened(settings) as (sessions, pipeline):
        await pipeline.loader.recovered.wait()

        assert await points(sessions) == (50, 50)
    assert not segment.exists()


async def test_a_segment_that_is_loaded_in_part_is_made_whole(settings, tmp_path):
    segment, kept = await _load_and_keep_the_segment(settings, tmp_path)
    shutil.copy(kept, segment)
    async with open_store(settings) as sessions:
        await sessions.execute("DELETE FROM samples WHERE number < 20")
        assert await points(sessions) == (30, 30)

    async with opened(settings) as (sessions, pipeline):
        await pipeline.loader.recovered.wait()

        assert await points(sessions) == (50, 50)


async def _load_and_keep_the_segment(settings, tmp_path):
    request = otlp_requests.gauges("g", range(50), time.time_ns())
    async with opened(settings) as (_, pipeline):
        await pipeline.intake.accept(Signal.METRICS, request)
        (segment,) = (settings.state_dir / "log" / "metrics").glob("*.pb")
        kept = shutil.copy(segment, tmp_path / "kept")
        await pipeline.loader.flush()
    return segment, kept


async def test_a_flipped_record_is_quarantined_and_its_neighbours_are_loaded(settings):
    now = time.time_ns()
    folder = settings.state_dir / "log" / "metrics"
    folder.mkdir(parents=True)
    records = [
        bytearray(seal(otlp_requests.gauges("g", [float(n)], now), "", now)) for n in range(3)
    ]
    records[1][20] ^= 4
    (folder / "0000000001.pb").write_bytes(b"".join(records))

    async with opened(settings) as (sessions, pipeline):
        await pipeline.loader.recovered.wait()

        assert await points(sessions) == (2, 2)
        assert pipeline.ledger.quarantined_bytes == len(records[1])
    (kept,) = (settings.state_dir / "log" / "quarantine").iterdir()
    assert kept.read_bytes() == records[1]


async def test_a_record_the_engine_refuses_doesnt_spoil_its_segment(settings):
    """The scanner lets none in; should one get past it, the others must not be lost."""
    now = time.time_ns()
    poison = seal(b"\x0a\x05ab", "", now)
    async with opened(settings) as (sessions, pipeline):
        good = [otlp_requests.gauges("g", [float(n)], now) for n in range(3)]
        await asyncio.gather(
            pipeline.intake.accept(Signal.METRICS, good[0]),
            pipeline.intake.accept(Signal.METRICS, good[1]),
            pipeline.writer.append(Signal.METRICS, poison, 0),
            pipeline.intake.accept(Signal.METRICS, good[2]),
        )
        await pipeline.loader.flush()

        assert await points(sessions) == (3, 3)
        (kept,) = (settings.state_dir / "log" / "quarantine").iterdir()
        assert kept.read_bytes() == poison


async def test_points_of_series_beyond_the_limit_are_refused_and_the_sender_is_told(tmp_path):
    settings = Settings(state_dir=tmp_path / "state", series_max=1_000)
    now = time.time_ns()
    async with opened(settings) as (_, pipeline):
        within = await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("g", range(1_000), now)
        )
        beyond = await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("h", range(5), now)
        )

        assert (within.refused, beyond.refused) == (0, 5)
        assert "SERIES_LIMIT" in beyond.message
        assert balanced(pipeline.ledger)


async def test_a_full_log_refuses_and_says_when_to_come_back(tmp_path):
    settings = Settings(state_dir=tmp_path / "state", log_bytes_max=1_000)
    now = time.time_ns()
    async with opened(settings) as (_, pipeline):
        request = otlp_requests.gauges("g", range(500), now)
        with pytest.raises(Overloaded) as refused:
            await pipeline.intake.accept(Signal.METRICS, request)

        assert refused.value.reason == "LOG_FULL"
        assert refused.value.retry_after.total_seconds() > 0
        assert balanced(pipeline.ledger)


async def test_a_disk_that_takes_no_more_refuses_and_recovers(settings):
    now = time.time_ns()
    async with opened(settings) as (sessions, pipeline):
        await pipeline.intake.accept(Signal.METRICS, otlp_requests.gauges("g", [1.0], now))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(Overloaded) as refused:
                await pipeline.intake.accept(
                    Signal.METRICS, otlp_requests.gauges("g", range(1_000), now)
                )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await pipeline.intake.accept(Signal.METRICS, otlp_requests.gauges("g", [2.0], now))
        await pipeline.loader.flush()

        assert refused.value.reason == "DISK_FULL"
        assert await points(sessions) == (2, 2)


async def test_two_processes_cant_have_one_folder(settings):
    async with open_store(settings):
        with pytest.raises(FailedPrecondition) as refused:
            async with open_store(settings):
                pass

    assert refused.value.reason == "STORE_TAKEN"


@pytest.fixture
def service(settings, ca, tmp_path):
    made = Service(settings, ca, tmp_path / "s")
    yield made
    made.end()


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_before_a_kill_is_loaded_once_by_the_next_start(
    settings, service
):
    channel = await service.start(TELEMETRY_SEGMENT_AGE="60")
    async with channel:
        export = channel.unary_unary(METHODS[Signal.METRICS])
        for n in range(20):
            await export(otlp_requests.gauges("g", [float(n)], time.time_ns()))
    service.kill()
    (left,) = (settings.state_dir / "log" / "metrics").glob("*.pb")
    assert left.stat().st_size > 0

    async with opened(settings) as (sessions, pipeline):
        await pipeline.loader.recovered.wait()
        answer = await sessions.query(
            "SELECT arraySort(groupArray(number)) FROM samples WHERE series_id IN"
            " (SELECT series_id FROM series WHERE name = 'g')",
            "TSV",
        )

    assert answer.decode().strip() == str(list(range(20))).replace(" ", "")


@pytest.mark.timeout(240)
async def test_kills_at_any_moment_lose_and_double_nothing(settings, service):
    acknowledged = []
    sent = 0
    for seconds in (0.4, 1.1):
        channel = await service.start()
        async with channel:
            export = channel.unary_unary(METHODS[Signal.METRICS])
            killing = asyncio.get_running_loop().call_later(seconds, service.kill)
            with contextlib.suppress(grpc.aio.AioRpcError):
                while True:
                    sent += 1
                    request = otlp_requests.gauges("g", [float(sent)], time.time_ns())
                    await export(request, timeout=5)
                    acknowledged.append(sent)
            killing.cancel()
    await (await service.start()).close()
    assert service.kill(signals.SIGTERM) == 0

    async with open_store(settings) as sessions:
        answer = await sessions.query(
            "SELECT toUInt64(number), count() FROM samples WHERE series_id IN"
            " (SELECT series_id FROM series WHERE name = 'g') GROUP BY 1",
            "TSV",
        )
    found = dict(tuple(map(int, line.split())) for line in answer.decode().splitlines())
    assert len(acknowledged) > 10
    assert set(acknowledged) <= set(found)
    assert set(found.values()) == {1}
