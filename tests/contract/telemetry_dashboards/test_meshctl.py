"""What an operator sees of it in a terminal."""

import asyncio
import json
import sys
import time

import pytest
import pytest_asyncio

from meshctl.sparks import BLOCKS
from tests.unit.telemetry_dashboards.test_grafana import BOARD


pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),  # The first start on a machine compiles.
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(started, postgres):
    return await started(await postgres.database("telemetry"))


@pytest.fixture
def service(running):
    return running[0]


@pytest.fixture
def meshctl(running):
    async def run(*words):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "meshctl", "--telemetry", str(running[1]),
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


STEP_NS = 600 * 10**9


async def told(service, name, hours=60):
    """A value each ten minutes, as a forecast's steps are, and one of now."""
    now = time.time_ns()
    newest = now - now % STEP_NS
    points = [(newest - back * STEP_NS, 100 + back) for back in range(6 * hours, -1, -1)]
    await service.send_past(name, [*points, (now, 100)])
    # What is old is found once it is loaded.
    await service.found(f"count_over_time({name}[{hours * 60 + 10}m]) > {6 * hours + 1}")


async def test_the_shipped_dashboards_are_listed(meshctl):
    code, out, _ = await meshctl("dashboard", "list")

    assert code == 0
    assert "postgresql" in out
    assert "shipped" in out


async def test_a_dashboard_is_drawn_with_lines_and_what_it_finds_nothing_for(service, meshctl):
    await service.send("telemetry_series", 3, at_ns=time.time_ns() - 20 * 10**9)
    await service.found("telemetry_series")
    code, out, err = await meshctl("dashboard", "show", "telemetry", "--range", "5m")

    assert code == 0, err
    assert "Series" in out
    assert set(out) & set(BLOCKS)
    assert "nothing" in out


async def test_a_dashboards_points_come_as_json(service, meshctl):
    await service.send("telemetry_series", 3, at_ns=time.time_ns() - 20 * 10**9)
    await service.found("telemetry_series")
    code, out, err = await meshctl("dashboard", "show", "telemetry", "--json")

    assert code == 0, err
    panels = {panel["title"]: panel for panel in json.loads(out)}
    assert panels["Series"]["series"][0]["points"][-1][1] >= 3


async def test_a_dashboard_that_is_not_there_is_told_with_what_to_try(meshctl):
    code, _, err = await meshctl("dashboard", "show", "nothing")

    assert code != 0
    assert "meshctl dashboard list" in err


async def test_what_grafana_exported_is_imported_and_what_is_lost_is_listed(meshctl, tmp_path):
    file = tmp_path / "board.json"
    file.write_text(json.dumps(BOARD))
    code, out, err = await meshctl("dashboard", "import", str(file))
    assert code == 0, err
    assert "Shop is shop, 3 panels." in out
    assert "panels[3]" in out

    code, out, err = await meshctl("dashboard", "history", "shop")
    assert code == 0, err
    assert "Shop" in out


async def test_a_forecast_is_drawn_with_its_date_and_backtest(service, meshctl):
    await told(service, "free_room")
    code, out, err = await meshctl(
        "forecast", "free_room", "--history", "48h", "--step", "10m", "--ahead", "24h",
        "--threshold", "0", "--falling",
    )  # fmt: skip

    assert code == 0, err
    assert "│" in out
    assert "earlier forecasts" in out
    assert "0 is reached 20" in out


async def test_too_young_a_series_is_told_and_is_no_fault(service, meshctl):
    await told(service, "new_thing", hours=1)
    code, out, err = await meshctl("forecast", "new_thing", "--step", "10m", "--history", "48h")

    assert code == 0, err
    assert "are too few" in out


async def test_sizes_of_what_nothing_is_known_of_are_none(meshctl):
    code, out, err = await meshctl("sizes", "nobody", "--json")

    assert code == 0, err
    assert json.loads(out) == {"advice": []}
