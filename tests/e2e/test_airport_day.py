"""The airport day runs through all of it: mail, live messages, boards, traces, metrics, logs."""

import json
import urllib.error

import grpc
import pytest

from aerofusion.notify.v1 import notification_service_pb2 as notify
from aerofusion.notify.v1 import notification_service_pb2_grpc as notify_grpc
from tests.fixtures.waiting import until


pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TRACES_FOLLOWED = 20


@pytest.fixture(scope="module")
def operator(mesh):
    return mesh.token("operators/ada", "operator", tenant="")


def metric(mesh, token, query):
    """Value of the first series that *query* finds now; None if there is none."""
    answer = mesh.call_json("/telemetry/v1/metrics:queryInstant", token, {"query": query})
    series = answer.get("series", [])
    return series[0]["values"][0] if series else None


def counted(mesh, part, name):
    return mesh.glance()["counts"].get(part, {}).get("counts", {}).get(name, 0)


def test_mail_of_the_day_arrives(mesh):
    until(lambda: counted(mesh, "mailsink", "mails"), "a mail", within_s=120)


def test_devices_follow_the_boards(mesh):
    until(lambda: counted(mesh, "devices", "converged"), "a board to converge", within_s=120)

    assert counted(mesh, "devices", "diverged") == 0


def delivered_delay(mesh, operator):
    """A notification about a delay whose mail was delivered, and that carries a trace."""
    with mesh.edge_channel() as channel:
        stub = notify_grpc.NotificationServiceStub(channel)
        metadata = (("authorization", f"Bearer {operator}"),)
        listed = stub.ListNotifications(
            notify.ListNotificationsRequest(parent="tenants/nyc", page_size=200),
            metadata=metadata,
            timeout=15,
        )
        for candidate in listed.notifications:
            if "delay" not in candidate.template or not candidate.trace_id:
                continue
            try:
                found = stub.GetNotification(
                    notify.GetNotificationRequest(name=candidate.name),
                    metadata=metadata,
                    timeout=15,
                )
            except grpc.RpcError:
                continue
            kinds = {(e.kind, e.channel) for e in found.timeline}
            if (notify.TimelineEvent.KIND_DELIVERED, "email") in kinds:
                return found
    return None


def test_one_trace_runs_from_the_edge_through_the_notifier_to_the_channel(mesh, operator):
    seen = {}  # Several: spans are sent once, and those of the first moments may be lost.

    def whole():
        found = delivered_delay(mesh, operator)
        if found is not None and len(seen) < TRACES_FOLLOWED:
            seen.setdefault(found.notification.trace_id)
        return next(filter(is_whole, map(trace_of, seen)), None)

    def trace_of(trace_id):
        try:
            return mesh.call_json(f"/telemetry/v1/traces/{trace_id}", operator)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return {"spans": []}  # They are on their way.

    def is_whole(trace):
        spans = trace["spans"]
        through = {"flightinfo", "edge", "notifier"} <= {span.get("service") for span in spans}
        return through and any("email" in span.get("name", "") for span in spans)

    trace = until(whole, "a delivered delay with its whole trace", within_s=240, every_s=1)

    assert {"flightinfo", "edge", "notifier"} <= {s.get("service") for s in trace["spans"]}


def test_the_timeline_of_a_notification_tells_each_step(mesh, operator):
    found = until(
        lambda: delivered_delay(mesh, operator), "a delivered delay", within_s=180, every_s=0.5
    )
    kinds = [event.kind for event in found.timeline]
    kind = notify.TimelineEvent

    assert kinds[0] == kind.KIND_ACCEPTED
    assert kind.KIND_PLANNED in kinds
    assert kinds.index(kind.KIND_ATTEMPT_STARTED) < kinds.index(kind.KIND_DELIVERED)


def test_what_happens_is_visible_as_metrics(mesh, operator):
    query = 'sum by (channel) (rate(notifier_deliveries_total{channel="email"}[2m]))'

    until(lambda: metric(mesh, operator, query), "a rate of deliveries", within_s=120)


def test_the_edges_access_log_is_searchable(mesh, operator):
    def found():
        body = {"service": "edge", "pageSize": 10}
        return mesh.call_json("/telemetry/v1/logs:search", operator, body).get("entries")

    entries = until(found, "a record of the access log", within_s=60)

    assert entries[0]["service"] == "edge"


@pytest.mark.parametrize(
    "name", ["edge", "gateway", "hosts", "notifier", "postgresql", "syncd", "telemetry"]
)
def test_every_panel_of_a_dashboard_that_comes_with_the_mesh_finds_data(mesh, name):
    def empty():
        run = mesh.meshctl("dashboard", "show", name, "--range", "5m", "--json", check=False)
        if run.returncode:
            return [run.stderr]
        return [
            [panel["title"], *panel["problems"]]
            for panel in json.loads(run.stdout)
            if not any(one["points"] for one in panel["series"])
        ]

    last = []

    def filled():
        last[:] = empty()
        return not last

    try:
        until(filled, "every panel", within_s=120, every_s=1)
    finally:
        assert last == []
