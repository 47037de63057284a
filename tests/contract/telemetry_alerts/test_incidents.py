"""Incidents over gRPC: opened by alerts, taken on, written about, over; and after a restart."""

import functools

import pytest
from google.protobuf.duration_pb2 import Duration

from aerofusion.telemetry.v1 import (
    incident_pb2,
    incident_service_pb2,
    routing_pb2,
    routing_service_pb2,
)
from meshkit.errors import FailedPrecondition, InvalidInput, NotFound
from tests.contract.telemetry_alerts.reaching import eventually, is_firing, ready, refused


pytestmark = pytest.mark.timeout(600)  # The first start on a machine compiles.

ON_CALL = "tenants/aero/recipients/ops"
State, Kind = incident_pb2.Incident, incident_pb2.IncidentEvent


async def listed(service, **asked):
    request = incident_service_pb2.ListIncidentsRequest(**asked)
    return list((await service.incidents.ListIncidents(request)).incidents)


async def shown(service, name):
    request = incident_service_pb2.GetIncidentRequest(name=name)
    return (await service.incidents.GetIncident(request)).incident


async def noted(service, name, text="rolled back", **more):
    request = incident_service_pb2.AddIncidentNoteRequest(name=name, text=text, **more)
    return (await service.incidents.AddIncidentNote(request)).incident


async def as_many(service, wanted):
    return len(await listed(service)) == wanted


def kinds(incident):
    return [event.kind for event in incident.timeline]


async def test_an_incident_is_opened_escalated_taken_on_and_over(running, dsn):
    nobody = "http://127.0.0.1:1/"
    async with running(dsn) as service:
        await ready(service)
        steps = [
            routing_pb2.EscalationStep(targets=[ON_CALL]),
            routing_pb2.EscalationStep(targets=[ON_CALL], after=Duration(nanos=300_000_000)),
        ]
        policy = routing_pb2.EscalationPolicy(
            id="default", group_by=["severity"], steps=steps, fallback_webhooks=[nobody]
        )
        await service.routing.UpdateRouting(
            routing_service_pb2.UpdateRoutingRequest(routing=routing_pb2.Routing(policies=[policy]))
        )
        await service.apply()
        await service.send("queue.length", 5.0, 50.0)
        (incident,) = await eventually(lambda: listed(service))
        assert incident.title == "QueueLong"
        assert incident.escalation_policy == "escalationPolicies/default"
        assert dict(incident.group_labels) == {"severity": "page"}
        assert not incident.timeline

        async def escalated():
            one = await shown(service, incident.name)
            return one if Kind.KIND_ESCALATED in kinds(one) else None

        one = await eventually(escalated)
        assert one.state == State.STATE_OPEN
        fired = one.timeline[0]
        assert (fired.kind, fired.text) == (Kind.KIND_FIRED, "QueueLong: 1 has 50")
        escalation = next(e for e in one.timeline if e.kind == Kind.KIND_ESCALATED)
        assert list(escalation.targets) == [ON_CALL]

        take = incident_service_pb2.AcknowledgeIncidentRequest(name=incident.name, comment="mine")
        taken = (await service.incidents.AcknowledgeIncident(take)).incident
        assert taken.state == State.STATE_ACKNOWLEDGED
        assert taken.acknowledger.startswith("spiffe://")
        assert taken.time_to_acknowledge.ToNanoseconds() > 0
        again = (await service.incidents.AcknowledgeIncident(take)).incident
        assert kinds(again).count(Kind.KIND_ACKNOWLEDGED) == 1
        (alert,) = await service.listed()
        assert alert.acknowledgement.comment == "mine"

    async with running(dsn) as service:
        await ready(service)
        (kept,) = await eventually(lambda: listed(service))
        assert (kept.name, kept.open_time) == (incident.name, incident.open_time)
        await service.until(is_firing)
        await service.send("queue.length", 5.0, 6.0)

        async def over():
            one = await shown(service, incident.name)
            return one if one.state == State.STATE_RESOLVED else None

        one = await eventually(over)
        assert kinds(one)[-2:] == [Kind.KIND_ALERT_RESOLVED, Kind.KIND_RESOLVED]
        assert one.time_to_repair.ToNanoseconds() >= one.time_to_acknowledge.ToNanoseconds()
        assert await listed(service) == []
        assert [each.name for each in await listed(service, show_resolved=True)] == [one.name]
        late = await refused(service.incidents.AcknowledgeIncident(take))
        assert isinstance(late, FailedPrecondition)
        assert late.reason == "INCIDENT_RESOLVED"


async def test_notes_are_written_once_also_after_the_end(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        await service.apply()
        await service.send("queue.length", 50.0)
        (incident,) = await eventually(lambda: listed(service))
        assert dict(incident.group_labels) == {"alertname": "QueueLong"}
        assert not incident.escalation_policy
        await noted(service, incident.name, request_id="n1")
        one = await noted(service, incident.name, request_id="n1")
        notes = [event for event in one.timeline if event.kind == Kind.KIND_NOTE]
        assert [(note.text, note.actor[:9]) for note in notes] == [("rolled back", "spiffe://")]
        other = await refused(noted(service, incident.name, "something else", request_id="n1"))
        assert other.reason == "REQUEST_ID_REUSED"
        await service.send("queue.length", 1.0)
        await eventually(lambda: listed(service, show_resolved=True))

        async def over():
            return (await shown(service, incident.name)).HasField("resolve_time")

        await eventually(over)
        one = await noted(service, incident.name, "it was the printer")
        assert kinds(one)[-1] == Kind.KIND_NOTE


async def test_incidents_come_in_pages_the_newest_first(running, dsn):
    rules = "".join(
        f"\n      - {{alert: A{n}, expr: 'queue_length{{n=\"{n}\"}} > 10'}}" for n in range(3)
    )
    async with running(dsn) as service:
        await ready(service)
        await service.apply(f"groups:\n  - name: three\n    rules:{rules}\n")
        for values in ([50.0], [50.0, 50.0], [50.0, 50.0, 50.0]):
            await service.send("queue.length", *values)
            await eventually(functools.partial(as_many, service, len(values)))
        request = incident_service_pb2.ListIncidentsRequest(page_size=2)
        first = await service.incidents.ListIncidents(request)
        assert [one.title for one in first.incidents] == ["A2", "A1"]
        request.page_token = first.next_page_token
        second = await service.incidents.ListIncidents(request)
        assert [one.title for one in second.incidents] == ["A0"]
        assert not second.next_page_token
        request.show_resolved = True
        foreign = await refused(service.incidents.ListIncidents(request))
        assert foreign.reason == "INVALID_PAGE_TOKEN"


async def test_what_there_is_not_and_what_says_nothing_is_refused(running, dsn):
    async with running(dsn) as service:
        await ready(service)
        assert isinstance(await refused(shown(service, "incidents/none")), NotFound)
        assert (await refused(shown(service, "alerts/none"))).reason == "INVALID_NAME"
        bad = await refused(noted(service, "incidents/none", ""))
        assert isinstance(bad, InvalidInput)
        assert bad.reason == "INVALID_COMMENT"
        assert isinstance(await refused(noted(service, "incidents/none")), NotFound)
