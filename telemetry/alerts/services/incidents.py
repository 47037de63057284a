"""IncidentService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import incident_pb2
from aerofusion.telemetry.v1 import incident_service_pb2 as pb
from aerofusion.telemetry.v1 import incident_service_pb2_grpc as stubs
from meshkit import authz, paging
from meshkit.errors import FailedPrecondition, InvalidInput
from telemetry.alerts.incidents import TEXT_CHARS_MAX, Event, Incident, Kind
from telemetry.alerts.room import TENANT
from telemetry.alerts.services import wire
from telemetry.rules.states import Phase


if TYPE_CHECKING:
    from telemetry.alerts.room import Room

    Context = Any

SERVICE = "aerofusion.telemetry.v1.IncidentService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in ("ListIncidents", "GetIncident", "AcknowledgeIncident", "AddIncidentNote")
}

_REQUEST_ID_CHARS_MAX = 128
_TIME_MS_MAX = 1 << 53
_LAST = "~"
"""Behind every id."""

_KINDS = {
    Kind.FIRED: incident_pb2.IncidentEvent.KIND_FIRED,
    Kind.NOTIFIED: incident_pb2.IncidentEvent.KIND_NOTIFIED,
    Kind.ACKNOWLEDGED: incident_pb2.IncidentEvent.KIND_ACKNOWLEDGED,
    Kind.ESCALATED: incident_pb2.IncidentEvent.KIND_ESCALATED,
    Kind.ALERT_RESOLVED: incident_pb2.IncidentEvent.KIND_ALERT_RESOLVED,
    Kind.RESOLVED: incident_pb2.IncidentEvent.KIND_RESOLVED,
    Kind.NOTE: incident_pb2.IncidentEvent.KIND_NOTE,
}


class IncidentService(stubs.IncidentServiceServicer):
    """Incidents as the database has them, told of everything first."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def ListIncidents(
        self, request: pb.ListIncidentsRequest, context: Context
    ) -> pb.ListIncidentsResponse:
        store = await self._room.incident_store()
        await self._room.save()
        since_ms = request.start_time.ToMilliseconds() if request.HasField("start_time") else 0
        question = (request.show_resolved, since_ms)
        opened, _, last = paging.read_token(request.page_token, *question).partition("/")
        limit = paging.page_size(request.page_size)
        found = await store.page(
            TENANT,
            since_ms=since_ms,
            resolved=request.show_resolved,
            before=(int(opened), last) if opened else (_TIME_MS_MAX, _LAST),
            limit=limit + 1,
        )
        token = ""
        if len(found) > limit:
            one = found[limit - 1]
            token = paging.next_token(f"{one.opened_ms}/{one.id}", *question)
        return pb.ListIncidentsResponse(
            incidents=[incident_message(one) for one in found[:limit]], next_page_token=token
        )

    async def GetIncident(
        self, request: pb.GetIncidentRequest, context: Context
    ) -> pb.GetIncidentResponse:
        incident = wire.read_id("name", request.name, "incidents")
        return pb.GetIncidentResponse(incident=await self._whole(incident))

    async def AcknowledgeIncident(
        self, request: pb.AcknowledgeIncidentRequest, context: Context
    ) -> pb.AcknowledgeIncidentResponse:
        incident = wire.read_id("name", request.name, "incidents")
        _check_text("comment", request.comment, at_least=0)
        store = await self._room.incident_store()
        self._room.lease.check()
        await self._room.save()
        there = await store.get(TENANT, incident)
        if there.resolved_ms:
            raise FailedPrecondition(
                "INCIDENT_RESOLVED",
                "The incident is over; nobody need take it on.",
                incident=incident,
            )
        self._room.board.acknowledge(
            TENANT,
            [one for one in there.firing if self._is_firing(one)],
            actor=authz.current_caller().subject,
            comment=request.comment,
            now_ms=self._room.now_ms,
        )
        self._room.teller.look()
        return pb.AcknowledgeIncidentResponse(incident=await self._whole(incident))

    async def AddIncidentNote(
        self, request: pb.AddIncidentNoteRequest, context: Context
    ) -> pb.AddIncidentNoteResponse:
        incident = wire.read_id("name", request.name, "incidents")
        _check_text("text", request.text, at_least=1)
        if len(request.request_id) > _REQUEST_ID_CHARS_MAX or "\0" in request.request_id:
            raise _invalid("request_id", f"at most {_REQUEST_ID_CHARS_MAX} characters")
        store = await self._room.incident_store()
        await self._room.save()
        note = Event(
            kind=Kind.NOTE,
            at_ms=self._room.now_ms,
            text=request.text,
            actor=authz.current_caller().subject,
        )
        await store.add_note(TENANT, incident, note, request_id=request.request_id)
        return pb.AddIncidentNoteResponse(incident=await self._whole(incident))

    async def _whole(self, incident: str) -> incident_pb2.Incident:
        store = await self._room.incident_store()
        await self._room.save()
        message = incident_message(await store.get(TENANT, incident))
        message.timeline.extend(map(event_message, await store.timeline(TENANT, incident)))
        return message

    def _is_firing(self, alert: str) -> bool:
        one = self._room.board.get(TENANT, alert)
        return one is not None and one.alert.phase is Phase.FIRING


def incident_message(one: Incident) -> incident_pb2.Incident:
    """Return an incident as it stands, without its timeline."""
    state = incident_pb2.Incident.STATE_OPEN
    if one.resolved_ms:
        state = incident_pb2.Incident.STATE_RESOLVED
    elif one.acknowledged_ms:
        state = incident_pb2.Incident.STATE_ACKNOWLEDGED
    message = incident_pb2.Incident(
        name=f"incidents/{one.id}",
        title=", ".join(one.titles),
        state=state,
        escalation_policy=f"escalationPolicies/{one.policy}" if one.policy else "",
        group_labels=json.loads(one.key),
        alerts=[f"alerts/{alert}" for alert in one.firing],
        firings=one.firings,
        open_time=wire.timestamp(one.opened_ms),
        acknowledge_time=wire.timestamp(one.acknowledged_ms),
        acknowledger=one.acknowledger,
        resolve_time=wire.timestamp(one.resolved_ms),
    )
    if one.acknowledged_ms:
        took_ms = max(0, one.acknowledged_ms - one.opened_ms)
        message.time_to_acknowledge.CopyFrom(wire.duration(took_ms))
    if one.resolved_ms:
        message.time_to_repair.CopyFrom(wire.duration(max(0, one.resolved_ms - one.opened_ms)))
    return message


def event_message(one: Event) -> incident_pb2.IncidentEvent:
    """Return something that happened."""
    return incident_pb2.IncidentEvent(
        time=wire.timestamp(one.at_ms),
        kind=_KINDS[one.kind],
        alert=f"alerts/{one.alert}" if one.alert else "",
        text=one.text,
        actor=one.actor,
        route=one.route,
        targets=one.targets,
    )


def _check_text(field: str, text: str, *, at_least: int) -> None:
    if not at_least <= len(text) <= TEXT_CHARS_MAX or "\0" in text:
        raise _invalid(field, f"{at_least} to {TEXT_CHARS_MAX} characters")


def _invalid(field: str, why: str) -> InvalidInput:
    return InvalidInput("INVALID_COMMENT", f"{field}: {why}.", field_violations={field: why})
