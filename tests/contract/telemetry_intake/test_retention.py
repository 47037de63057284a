"""What is too old goes: by tenant and by signal; and the disk is looked at."""

import time
from datetime import timedelta

import pytest

from meshkit.settings import InvalidSettings
from telemetry.scan.shapes import Signal
from telemetry.settings import Settings
from telemetry.store.retention import Keeper, Retention
from tests.contract.telemetry_intake import otlp_requests
from tests.contract.telemetry_intake.running import opened


DAY = 86_400


@pytest.fixture
async def stored(tmp_path):
    """Logs and gauges of two tenants, today's and of ten and forty days ago."""
    now = time.time_ns()
    async with opened(Settings(state_dir=tmp_path / "state")) as (sessions, pipeline):
        for tenant in ("", "lounge"):
            for days in (0, 10, 40):
                at = now - days * DAY * 10**9
                await pipeline.intake.accept(
                    Signal.METRICS, otlp_requests.gauges(f"{tenant}g", [1.0], at), tenant
                )
                await pipeline.intake.accept(Signal.LOGS, otlp_requests.logs(at), tenant)
        await pipeline.loader.flush()
        yield sessions


async def test_each_tenants_signal_stays_as_long_as_it_is_said_to(stored):
    retention = Retention.of(timedelta(days=30), "lounge/logs=5d, lounge/metrics=60d")

    await Keeper(stored, retention, disk_bytes_max=0).keep()

    gauges = await stored.execute(
        "SELECT s.tenant, intDiv(toUnixTimestamp(now()) - intDiv(ts_ms, 1000) + 43200, 86400) d"
        " FROM samples JOIN series AS s USING series_id ORDER BY 1, 2"
    )
    assert gauges.decode().splitlines() == ["\t0", "\t10", "lounge\t0", "lounge\t10", "lounge\t40"]
    logs = await stored.execute(
        "SELECT tenant, intDiv(toUnixTimestamp(now()) - toUnixTimestamp(toDateTime(time)) + 43200,"
        " 86400) AS d FROM logs GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert logs.decode().splitlines() == ["\t0", "\t10", "lounge\t0"]


async def test_the_disk_budget_is_warned_of_before_it_is_used_up(stored, capsys):
    keeper = Keeper(stored, Retention.of(timedelta(days=90), ""), disk_bytes_max=1)

    await keeper.keep()

    assert keeper.disk_bytes > 100
    assert "disk_budget" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["lounge=5d", "a/b=5d", "a/logs=0d", "a/logs=5h", "a b/logs=5d"])
def test_what_cant_be_read_is_an_error(text):
    with pytest.raises(InvalidSettings):
        Retention.of(timedelta(days=1), text)
