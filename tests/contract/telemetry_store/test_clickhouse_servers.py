"""The store on ClickHouse servers: the same rows through HTTP, and what makes a cluster's tables."""

# ruff: noqa: S608 - names of our tables and numbers

import contextlib
import re
import time

import chdb
import pytest

from meshkit.errors import FailedPrecondition, InvalidInput, Unavailable
from telemetry.load.statements import TABLES
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from telemetry.store.cluster import SHARD_KEYS, spread
from telemetry.store.engine import quote, schema
from telemetry.store.model import Limits
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.running import opened, samples_of
from tests.fixtures.clickhouse_front import Front


@pytest.fixture
def front(tmp_path):
    running = Front(tmp_path, 0)
    yield running
    running.close()


@pytest.fixture
def settings(tmp_path, front):
    return Settings(state_dir=tmp_path / "state", clickhouse_url=front.url)


async def counts(sessions, signal):
    found = 0
    for table in TABLES[signal]:
        found += int(await sessions.query(f"SELECT count() FROM {table}", "TSV"))
    return found


@pytest.mark.parametrize("signal", otlp_requests.REQUESTS)
async def test_every_signal_reaches_the_servers_to_the_row(settings, signal):
    async with opened(settings) as (sessions, pipeline):
        accepted = await pipeline.intake.accept(
            signal, otlp_requests.REQUESTS[signal](time.time_ns())
        )
        await pipeline.loader.flush()

        ledger = pipeline.ledger
        assert accepted.refused > 0
        assert ledger.rows_loaded[signal] == ledger.rows_logged[signal] > 0
        assert await counts(sessions, signal) == ledger.rows_loaded[signal]


async def test_a_restart_finds_series_and_goes_on(settings):
    now = time.time_ns()
    for value in (1.0, 2.0):
        async with opened(settings) as (sessions, pipeline):
            request = otlp_requests.gauges("g", [value], now + int(value))
            await pipeline.intake.accept(Signal.METRICS, request)
            await pipeline.loader.flush()
            assert pipeline.scanner.series == 1

            assert sum(map(len, (await samples_of(sessions, "g")).values())) >= 1


async def test_an_answer_that_is_lost_doubles_nothing(settings, front):
    async with opened(settings) as (sessions, pipeline):
        front.lose = {"INSERT INTO samples": 1}
        await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("g", range(40), time.time_ns())
        )
        await pipeline.loader.flush()

        assert await sessions.query("SELECT count() FROM samples", "TSV") == b"40\n"
        assert pipeline.ledger.rows_loaded == pipeline.ledger.rows_logged
    written = re.compile("INSERT INTO samples|KILL QUERY|DELETE FROM samples")
    said = [found[0] for one in front.statements if (found := written.match(one))]
    assert said == [
        "INSERT INTO samples",
        "KILL QUERY",
        "DELETE FROM samples",
        "INSERT INTO samples",
    ]


async def test_while_the_servers_are_away_what_comes_is_acknowledged_and_loaded_later(
    settings, front, tmp_path
):
    async with contextlib.AsyncExitStack() as stack:
        sessions, pipeline = await stack.enter_async_context(opened(settings))
        front.close()
        await pipeline.intake.accept(
            Signal.METRICS, otlp_requests.gauges("g", range(10), time.time_ns())
        )
        with pytest.raises(Unavailable) as away:
            await sessions.query("SELECT 1", "TSV")
        assert away.value.reason == "STORE_AWAY"

        again = Front(tmp_path, front.port)
        stack.callback(again.close)
        await pipeline.loader.flush()

        assert await sessions.query("SELECT count() FROM samples", "TSV") == b"10\n"
        await stack.aclose()


async def test_without_servers_there_is_no_start(tmp_path, front, settings):
    front.close()
    with pytest.raises(Unavailable) as away:
        async with opened(settings):
            pass
    assert away.value.reason == "STORE_AWAY"


async def test_bounds_of_a_query_hold_on_the_server(settings):
    async with opened(settings) as (sessions, _):
        with pytest.raises(InvalidInput) as refused:
            await sessions.query(
                "SELECT number FROM system.numbers",
                "TSV",
                Limits(rows_max=1000, rows_read_max=5000),
            )
        assert refused.value.reason == "QUERY_TOO_EXPENSIVE"
        with pytest.raises(InvalidInput) as refused:
            await sessions.query("SELECT match('a', '(')", "TSV")
        assert refused.value.reason == "BAD_REGEX"


async def test_a_database_belongs_to_one_state_folder(settings, tmp_path):
    async with opened(settings):
        pass
    other = Settings(state_dir=tmp_path / "other", clickhouse_url=settings.clickhouse_url)
    with pytest.raises(FailedPrecondition) as taken:
        async with opened(other):
            pass
    assert taken.value.reason == "STORE_TAKEN"


async def test_a_new_log_beside_old_tables_numbers_its_segments_behind_theirs(tmp_path):
    settings = Settings(state_dir=tmp_path / "state")
    for _ in range(2):
        async with opened(settings) as (sessions, pipeline):
            await pipeline.intake.accept(
                Signal.METRICS, otlp_requests.gauges("g", range(3), time.time_ns())
            )
            await pipeline.loader.flush()
            counted = await sessions.query("SELECT count(), uniqExact(segment) FROM samples", "TSV")
        (settings.state_dir / "log" / "next").unlink()

    assert counted == b"6\t2\n"


def test_every_statement_of_a_cluster_is_read_by_the_engine():
    made = [one for statement in schema() for one in spread(statement, "mesh")]

    for one in made:
        tree = chdb.query(f"EXPLAIN AST {one}", "TSV").data()
        assert "ON CLUSTER" not in tree
        formatted = chdb.query(f"SELECT formatQuerySingleLine({quote(one)})", "TSVRaw").data()
        assert "ON CLUSTER mesh" in formatted or "ON CLUSTER `mesh`" in formatted
    local = [one for one in made if "_local ON CLUSTER" in one and one.startswith("CREATE")]
    assert all("ENGINE = Replicated" in one for one in local)
    assert len(local) == sum(one.startswith("CREATE") for one in schema())


def test_every_table_says_which_shard_its_rows_are_of():
    tables = {one.split()[5] for one in schema() if one.startswith("CREATE TABLE")}

    assert tables | {"writers"} == set(SHARD_KEYS)
    assert spread("SELECT 1", "") == ["SELECT 1"]
