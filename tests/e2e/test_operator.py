"""What an operator sees and does of the airport day, with `meshctl` and nothing else."""

import json

import pytest

from tests.fixtures.waiting import until


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SERVICES = {"edge", "flightinfo", "gateway", "notifier", "syncd", "telemetry"}


@pytest.fixture
def shown(mesh):
    """`shown("map")`: what a verb says, as JSON; None while telemetry is busy."""

    def show(*words):
        run = mesh.meshctl(*words, "--json", check=False)
        return json.loads(run.stdout) if run.returncode == 0 else None

    return show


def test_the_map_shows_who_calls_whom(shown):
    def edges():
        found = (shown("map") or {}).get("edges", [])
        pairs = {(one.get("client", ""), one["server"]): one for one in found}
        return pairs if {("flightinfo", "edge"), ("edge", "notifier")} <= pairs.keys() else None

    through = until(edges, "the calls of the day", within_s=240)[("edge", "notifier")]

    assert int(through["calls"]) > 0
    assert through["rate"] > 0
    assert through["p99_duration"]


def test_the_platforms_table_has_a_row_for_each_service(shown):
    def table():
        found = shown("platform") or ()
        rows = {one["name"].removeprefix("serviceStatuses/"): one for one in found}
        known = rows.keys() >= SERVICES and rows["notifier"].get("requests_per_minute")
        return rows if known else None

    rows = until(table, "every service in the table", within_s=120)

    for name in SERVICES - {"edge"}:
        assert rows[name]["state"] in {"STATE_UP", "STATE_DEGRADED"}, name
        assert int(rows[name]["memory_bytes"]) > 0
        assert rows[name]["cpu_cores"] > 0
    assert 0 < rows["notifier"]["uptime"] <= 1
    assert rows["edge"]["requests_per_minute"] > 0
