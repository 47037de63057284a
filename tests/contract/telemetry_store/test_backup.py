"""Backups of a running telemetry, and what a restore makes of them: to the row."""

# ruff: noqa: S608 - names of our tables and numbers

import asyncio
import contextlib
import json
import os
import sys
import time
from datetime import timedelta

import grpc
import pytest

from meshkit.errors import FailedPrecondition
from meshkit.identity import IdentityFolder
from meshkit.postgres import open_pool
from telemetry.app import serve
from telemetry.backup import postgres as rows
from telemetry.backup.restoring import restore
from telemetry.intake.service import METHODS
from telemetry.load.statements import TABLES
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.running import opened, samples_of
from tests.fixtures.serving import running


ALL = sorted({table for tables in TABLES.values() for table in tables})


@pytest.fixture
def settings(tmp_path):
    return Settings(
        state_dir=tmp_path / "state",
        backup_dir=tmp_path / "backups",
        segment_age=timedelta(seconds=60),
    )


@pytest.fixture
def again(tmp_path, settings):
    """Settings of the telemetry that a backup is restored into."""
    return Settings(state_dir=tmp_path / "again", segment_age=settings.segment_age)


async def counts(sessions):
    found = {}
    for table in [*ALL, "series"]:
        found[table] = int(await sessions.query(f"SELECT count() FROM {table}", "TSV"))
    return found


async def test_tables_and_log_come_back_to_the_row(settings, again):
    now = time.time_ns()
    async with opened(settings) as (sessions, pipeline):
        for signal, request in otlp_requests.REQUESTS.items():
            await pipeline.intake.accept(signal, request(now))
        await pipeline.loader.flush()
        loaded = await counts(sessions)
        # These are in the log and in no table yet.
        request = otlp_requests.gauges("late", range(7), now)
        await pipeline.intake.accept(Signal.METRICS, request)
        taken = await pipeline.backups.take()
        assert taken.backup.size_bytes >= taken.copied_bytes > 0
        assert await pipeline.backups.all() == [taken.backup]

    await restore(again, taken.backup.folder)
    async with opened(again) as (sessions, pipeline):
        await pipeline.loader.recovered.wait()
        found = await counts(sessions)
        ledger = pipeline.ledger

        assert found == loaded | {
            "samples": loaded["samples"] + 7,
            "series": loaded["series"] + 7,
        }
        assert ledger.rows_loaded == ledger.rows_logged
        assert sorted((await samples_of(sessions, "late")).values()) == [
            [float(n)] for n in range(7)
        ]
        # What comes next takes no number that a row has.
        await pipeline.intake.accept(Signal.METRICS, otlp_requests.gauges("next", [1.0], now))
        await pipeline.loader.flush()
        assert (await counts(sessions))["samples"] == found["samples"] + 1


async def test_what_comes_meanwhile_is_there_once_or_not_at_all(tmp_path, again):
    settings = Settings(
        state_dir=tmp_path / "state",
        backup_dir=tmp_path / "backups",
        segment_age=timedelta(milliseconds=50),
    )
    acknowledged = []

    async def send(intake):
        while True:
            n = float(len(acknowledged))
            await intake.accept(Signal.METRICS, otlp_requests.gauges("g", [n], time.time_ns()))
            acknowledged.append(n)

    async with opened(settings) as (_, pipeline), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send(pipeline.intake))
        backups = []
        for _ in range(3):
            enough = len(acknowledged) + 20
            while len(acknowledged) < enough:  # noqa: ASYNC110 - the list tells nobody
                await asyncio.sleep(0)
            before = len(acknowledged)
            backups.append((before, await pipeline.backups.take()))
        sending.cancel()
    for number, (before, taken) in enumerate(backups):
        target = Settings(state_dir=again.state_dir / str(number))
        await restore(target, taken.backup.folder)
        async with opened(target) as (sessions, pipeline):
            await pipeline.loader.recovered.wait()
            answer = await sessions.query(
                f"SELECT count(), uniqExact(number), countIf(number < {before}) FROM samples", "TSV"
            )
            found, different, old = map(int, answer.split())

            assert found == different <= len(acknowledged) + 1
            assert old == before > 0


async def test_a_backup_shares_with_the_one_before_what_has_not_changed(settings):
    async with opened(settings) as (_, pipeline):
        request = otlp_requests.gauges("g", range(5_000), time.time_ns())
        await pipeline.intake.accept(Signal.METRICS, request)
        await pipeline.loader.flush()
        first = await pipeline.backups.take()
        second = await pipeline.backups.take()

    assert second.copied_bytes < first.copied_bytes / 10
    assert abs(second.backup.size_bytes - first.backup.size_bytes) < 1_000
    parts = list((second.backup.folder / "tables" / "samples").glob("*/data.bin"))
    parts += list((second.backup.folder / "tables" / "samples").glob("*/value.bin"))
    assert parts
    assert all(one.stat().st_nlink >= 2 for one in parts)
    # Nothing is left of the names that were given meanwhile.
    assert not (settings.state_dir / "freezing").exists()
    assert not (settings.state_dir / "store" / "shadow" / "freezing").exists()


async def test_only_so_many_are_kept_and_a_draft_is_none(tmp_path):
    settings = Settings(
        state_dir=tmp_path / "state", backup_dir=tmp_path / "backups", backups_kept=2
    )
    async with opened(settings) as (_, pipeline):
        taken = [await pipeline.backups.take() for _ in range(3)]
        (settings.backup_dir / ".20261127T000000.000000Z").mkdir()

        there = await pipeline.backups.all()
    assert [one.folder for one in there] == [taken[2].backup.folder, taken[1].backup.folder]


async def test_one_is_made_at_a_time(settings):
    async with opened(settings) as (_, pipeline):
        first = asyncio.create_task(pipeline.backups.take())
        await asyncio.sleep(0)
        with pytest.raises(FailedPrecondition) as refused:
            await pipeline.backups.take()
        await first
    assert refused.value.reason == "BACKUP_RUNNING"


async def test_nothing_is_overwritten_and_nothing_else_is_read(settings, again, tmp_path):
    async with opened(settings) as (_, pipeline):
        taken = await pipeline.backups.take()

    async def refusal(target, folder):
        with pytest.raises(FailedPrecondition) as refused:
            await restore(target, folder)
        return refused.value.reason

    assert await refusal(settings, taken.backup.folder) == "STATE_NOT_EMPTY"
    assert await refusal(again, tmp_path) == "BACKUP_UNREADABLE"
    (tmp_path / "backup.json").write_text(json.dumps({"format": 99}))
    assert await refusal(again, tmp_path) == "BACKUP_UNREADABLE"
    assert not again.state_dir.exists()


async def test_without_a_folder_there_are_no_backups(tmp_path):
    async with opened(Settings(state_dir=tmp_path / "state")) as (_, pipeline):
        with pytest.raises(FailedPrecondition) as refused:
            await pipeline.backups.take()
    assert refused.value.reason == "BACKUPS_OFF"


async def test_every_table_of_postgresql_is_saved_and_put_back_once(postgres, tmp_path):
    dsn, other = [await postgres.database(name) for name in ("telemetry", "again")]
    await rows.save(dsn, tmp_path / "empty")
    async with open_pool(dsn, application_name="test") as pool:
        known = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert {row["tablename"] for row in known} == {
            *rows.TABLES,
            "alert_lease",
            "schema_migrations",
        }
        await pool.execute(
            "INSERT INTO silences VALUES ('', 's', ARRAY['a=\"b,c\"', ''], 1, 2, E'say \"hi\"\\n',"
            " 'c', 'e', '', 3, 4)"
        )
        await pool.execute("INSERT INTO routing VALUES ('', '{\"a\": [1, null]}', 'e', now())")
        said = await pool.fetch("SELECT * FROM silences"), await pool.fetch("SELECT * FROM routing")
    await rows.save(dsn, tmp_path / "saved")

    await rows.put_back(other, tmp_path / "saved")

    async with open_pool(other, application_name="test") as pool:
        assert said == (
            await pool.fetch("SELECT * FROM silences"),
            await pool.fetch("SELECT * FROM routing"),
        )
    with pytest.raises(FailedPrecondition) as refused:
        await rows.put_back(other, tmp_path / "saved")
    assert refused.value.reason == "STATE_NOT_EMPTY"


async def command(*words, **environ):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *words, env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.timeout(180)
async def test_an_operator_makes_one_and_gets_it_back(ca, tmp_path, postgres):
    dsn, other = [await postgres.database(name) for name in ("telemetry", "again")]
    socket = tmp_path / "t.sock"
    settings = Settings(
        state_dir=tmp_path / "state",
        backup_dir=tmp_path / "backups",
        unix_socket=socket,
        postgres_dsn=dsn,
    )
    async with (
        running(serve, settings, workload=ca.workload("telemetry")),
        grpc.aio.insecure_channel(f"unix:{socket}") as channel,
    ):
        export = channel.unary_unary(METHODS[Signal.METRICS])
        await export(otlp_requests.gauges("g", range(3), time.time_ns()))
        code, out, err = await command("meshctl", "--telemetry", str(socket), "backup", "--json")
        assert (code, err) == (0, "")
        made = json.loads(out)["backup"]
        code, out, _ = await command("meshctl", "--telemetry", str(socket), "backups")
        assert code == 0
        assert made["folder"] in out

    identity = tmp_path / "identity"
    IdentityFolder(identity).write(ca.material("telemetry"))
    environ = {
        "TELEMETRY_STATE_DIR": str(tmp_path / "again"),
        "TELEMETRY_POSTGRES_DSN": other,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    code, _, err = await command("telemetry", "restore", made["folder"], **environ)
    assert code == 0
    assert '"restored"' in err
    code, _, err = await command("telemetry", "restore", made["folder"], **environ)
    assert code == 69
    assert "isn't empty" in err
    async with contextlib.AsyncExitStack() as stack:
        sessions, pipeline = await stack.enter_async_context(
            opened(Settings(state_dir=tmp_path / "again"))
        )
        await pipeline.loader.recovered.wait()
        assert len(await samples_of(sessions, "g")) == 3
