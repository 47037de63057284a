"""RoutingService."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import routing_pb2
from aerofusion.telemetry.v1 import routing_service_pb2 as pb
from aerofusion.telemetry.v1 import routing_service_pb2_grpc as stubs
from meshkit import authz
from meshkit.errors import NotFound
from telemetry.alerts.room import TENANT
from telemetry.alerts.routing import on_call
from telemetry.alerts.services import routing_wire


if TYPE_CHECKING:
    from telemetry.alerts.room import Room

    Context = Any

SERVICE = "aerofusion.telemetry.v1.RoutingService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in ("GetRouting", "UpdateRouting", "GetOnCall")
}


class RoutingService(stubs.RoutingServiceServicer):
    """Who is told."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def GetRouting(
        self, request: pb.GetRoutingRequest, context: Context
    ) -> pb.GetRoutingResponse:
        return pb.GetRoutingResponse(routing=await self._stored())

    async def UpdateRouting(
        self, request: pb.UpdateRoutingRequest, context: Context
    ) -> pb.UpdateRoutingResponse:
        routing = routing_wire.routing_of(request.routing)
        store = await self._room.routing_store()
        await store.put(
            TENANT,
            routing_wire.json_of(request.routing),
            etag=request.routing.etag,
            now=self._room.now,
        )
        self._room.route(routing)
        return pb.UpdateRoutingResponse(routing=await self._stored())

    async def GetOnCall(
        self, request: pb.GetOnCallRequest, context: Context
    ) -> pb.GetOnCallResponse:
        await self._room.routing_store()
        at_ms = request.time.ToMilliseconds() if request.HasField("time") else self._room.now_ms
        for schedule in self._room.teller.routing.schedules:
            if schedule.id == request.schedule:
                return pb.GetOnCallResponse(participant=on_call(schedule, at_ms))
        raise NotFound(
            "SCHEDULE_NOT_FOUND",
            f"There is no schedule {request.schedule[:128]!r}.",
            schedule=request.schedule[:128],
        )

    async def _stored(self) -> routing_pb2.Routing:
        store = await self._room.routing_store()
        spec, etag, update_time = await store.get(TENANT)
        message = routing_wire.message_of_json(spec)
        message.etag = etag
        if update_time is not None:
            message.update_time.FromDatetime(update_time)
        return message
