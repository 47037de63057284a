"""What an operator sees and does of the airport day, with `meshctl` and nothing else."""

import functools
import json
from datetime import datetime

import pytest

from tests.fixtures import waiting
from tests.fixtures.mesh import ROOT


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

OBJECTIVES = ROOT / "deploy/rules/objectives.yaml"
RULES = ROOT / "deploy/rules/airport-day.yaml"
ROUTING = ROOT / "deploy/rules/airport-day.routing.json"
DUTY_MANAGER = "tenants/nyc/recipients/duty-manager"
IN_PYTHON = {"flightinfo", "gateway", "notifier", "syncd", "telemetry"}
SERVICES = IN_PYTHON | {"edge"}


until = functools.partial(waiting.until, every_s=1.0)  # each look is a process


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
        # CPU is a rate: it takes two looks at each.
        return rows if known and all("cpu_cores" in rows[name] for name in IN_PYTHON) else None

    rows = until(table, "every service in the table", within_s=120)

    for name in IN_PYTHON:
        assert rows[name]["state"] in {"STATE_UP", "STATE_DEGRADED"}, name
        assert int(rows[name]["memory_bytes"]) > 0
        assert rows[name]["cpu_cores"] > 0
    assert 0 < rows["notifier"]["uptime"] <= 1
    assert rows["edge"]["requests_per_minute"] > 0


def test_an_objective_comes_with_the_mesh_is_applied_and_its_budget_read(mesh, shown):
    until(lambda: shown("objectives", "show", "edge-availability"), "the mesh's own objective")
    mesh.meshctl("objectives", "apply", "-f", str(OBJECTIVES))

    def budgets():
        found = shown("objectives", "show", "edge-availability") or {}
        by_service = {one["labels"]["service"]: one for one in found.get("statuses", ())}
        return by_service if "services/notifier" in by_service else None

    budget = until(budgets, "a budget of the notifier", within_s=120)["services/notifier"]

    assert budget["budget_remaining"] <= 1
    assert {rate["window"] for rate in budget["burn_rates"]} >= {"300s", "3600s", "2419200s"}


@pytest.fixture
def watched(mesh):
    """The day is watched, and the duty manager is told."""
    mesh.meshctl("alerts", "routing", "apply", "-f", str(ROUTING))
    mesh.meshctl("alerts", "rules", "apply", "-f", str(RULES))
    yield
    mesh.meshctl("alerts", "rules", "delete", "airport-day", check=False)


def kinds(incident):
    return [event["kind"].removeprefix("KIND_") for event in incident["timeline"]]


def test_an_alert_fires_is_escalated_and_acknowledged_and_its_incident_tells_of_it(
    mesh, shown, watched
):
    assert shown("alerts", "oncall", "duty-manager") == {"participant": DUTY_MANAGER}

    def firing():
        found = shown("alerts", "list", "alertname=DeparturesLate") or []
        return next((one for one in found if "deliver_time" in one.get("receipt", {})), None)

    receipt = until(firing, "late departures", within_s=300)["receipt"]
    steps = ("event_time", "ingest_time", "evaluate_time", "send_time", "deliver_time")
    times = [datetime.fromisoformat(receipt[step]) for step in steps]
    assert times == sorted(times)
    name = until(
        lambda: next(
            (one["name"] for one in shown("incidents", "list") or () if "Late" in one["title"]),
            None,
        ),
        "an incident",
        within_s=30,
    ).removeprefix("incidents/")

    def escalated():
        incident = shown("incidents", "show", name)
        return incident if incident and {"NOTIFIED", "ESCALATED"} <= {*kinds(incident)} else None

    incident = until(escalated, "the next step", within_s=120)
    notified = next(e for e in incident["timeline"] if e["kind"] == "KIND_NOTIFIED")
    assert (notified["route"], notified["targets"]) == ("notifier", [DUTY_MANAGER])

    taken = json.loads(mesh.meshctl("incidents", "ack", name, "--comment", "mine", "--json").stdout)
    assert taken["state"] == "STATE_ACKNOWLEDGED"
    assert taken["acknowledger"]
    listed = shown("alerts", "list", "alertname=DeparturesLate")
    assert any("acknowledgement" in one for one in listed)

    mesh.meshctl("incidents", "note", name, "snow: two runways closed")
    mesh.meshctl("alerts", "rules", "delete", "airport-day")

    def over():
        incident = shown("incidents", "show", name)
        return incident if incident and incident["state"] == "STATE_RESOLVED" else None

    incident = until(over, "its end", within_s=60)
    happened = kinds(incident)
    assert happened[0] == "FIRED"
    assert happened[-1] == "RESOLVED"
    assert happened.index("ESCALATED") < happened.index("ACKNOWLEDGED") < happened.index("NOTE")
    assert incident["time_to_acknowledge"]
    assert incident["time_to_repair"]
