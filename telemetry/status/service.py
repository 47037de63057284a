"""gRPC in, the status table out: `aerofusion.telemetry.v1.StatusService`."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import status_service_pb2 as pb
from aerofusion.telemetry.v1 import status_service_pb2_grpc as stubs
from meshkit import authz, paging
from meshkit.errors import NotFound
from telemetry.alerts.room import TENANT
from telemetry.alerts.services import wire
from telemetry.query.asking import bad
from telemetry.rules.states import Phase
from telemetry.status.asking import ask
from telemetry.status.table import State, slot_of


if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration

    from meshkit.serving import GrpcServer
    from telemetry.alerts.room import Room
    from telemetry.promql.labels import Labels
    from telemetry.query.queries import Queries
    from telemetry.status.table import Row

    Context = Any

SERVICE = "aerofusion.telemetry.v1.StatusService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in ("ListServiceStatuses", "GetServiceStatus")
}
"""Who may call what; telemetry's own table takes these rows in."""

WINDOW_MS = 3_600_000
WINDOW_MS_MIN, WINDOW_MS_MAX = 300_000, 90 * 86_400_000
_STATES = {
    State.UP: pb.ServiceStatus.STATE_UP,
    State.DEGRADED: pb.ServiceStatus.STATE_DEGRADED,
    State.DOWN: pb.ServiceStatus.STATE_DOWN,
}


def serve_status(server: GrpcServer, room: Room, queries: Queries) -> None:
    """Make *server* answer for the status table."""
    server.add(stubs.add_StatusServiceServicer_to_server, StatusService(room, queries), SERVICE)


class StatusService(stubs.StatusServiceServicer):
    """Computes the table anew for each call."""

    def __init__(self, room: Room, queries: Queries) -> None:
        self._room = room
        self._queries = queries

    async def ListServiceStatuses(
        self, request: pb.ListServiceStatusesRequest, context: Context
    ) -> pb.ListServiceStatusesResponse:
        window_ms = _window(request.window, given=request.HasField("window"))
        after = paging.read_token(request.page_token, window_ms)
        limit = paging.page_size(request.page_size)
        left = [row for row in await self._rows(window_ms) if row.service > after]
        token = ""
        if len(left) > limit:
            token = paging.next_token(left[limit - 1].service, window_ms)
        return pb.ListServiceStatusesResponse(
            service_statuses=[status_message(row) for row in left[:limit]],
            next_page_token=token,
            slot=wire.duration(slot_of(window_ms)),
        )

    async def GetServiceStatus(
        self, request: pb.GetServiceStatusRequest, context: Context
    ) -> pb.GetServiceStatusResponse:
        service = wire.read_id("name", request.name, "serviceStatuses")
        window_ms = _window(request.window, given=request.HasField("window"))
        for row in await self._rows(window_ms):
            if row.service == service:
                return pb.GetServiceStatusResponse(service_status=status_message(row))
        raise NotFound(
            "SERVICE_NOT_HEARD_OF",
            f"Nothing was heard of a service {service!r} in that time.",
            service=service,
        )

    async def _rows(self, window_ms: int) -> list[Row]:
        now_ms = time.time_ns() // 1_000_000
        return await ask(self._queries, window_ms, now_ms, tenant=TENANT, firing=self._firing())

    def _firing(self) -> list[Labels]:
        return [
            one.alert.labels
            for one in self._room.board.listed(TENANT)
            if one.alert.phase is Phase.FIRING
        ]


def status_message(row: Row) -> pb.ServiceStatus:
    """Return a row of the table."""
    message = pb.ServiceStatus(
        name=f"serviceStatuses/{row.service}",
        state=_STATES[row.state],
        instances=row.presence.instances,
        uptime=row.presence.uptime,
        up_time=wire.timestamp(row.presence.since_ms),
        requests_per_minute=row.requests_per_minute,
        error_share=row.error_share,
        cpu_cores=row.cpu_cores,
        memory_bytes=row.memory_bytes,
        firing_alerts=row.firing,
        budget_remaining=row.budget_remaining,
    )
    if row.p99_s is not None:
        message.p99_duration.CopyFrom(wire.duration(row.p99_s * 1000))
    return message


def _window(given_window: Duration, *, given: bool) -> int:
    if not given:
        return WINDOW_MS
    window_ms = given_window.ToMilliseconds()
    if not WINDOW_MS_MIN <= window_ms <= WINDOW_MS_MAX:
        raise bad("window", "must be 5 minutes to 90 days")
    return window_ms
