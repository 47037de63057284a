"""gRPC in, the map out: `aerofusion.telemetry.v1.MapService`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aerofusion.telemetry.v1 import map_service_pb2 as pb
from aerofusion.telemetry.v1 import map_service_pb2_grpc as pb_grpc
from meshkit import authz
from telemetry.map.edges import quantile, upper_bound
from telemetry.query.asking import asked_times, fitting, tenant_of
from telemetry.query.messages import duration


if TYPE_CHECKING:
    import grpc

    from meshkit.serving import GrpcServer
    from telemetry.map.keeper import Keeper
    from telemetry.map.store import Edge

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "aerofusion.telemetry.v1.MapService"
POLICY: authz.Policy = {
    f"/{SERVICE}/GetServiceMap": authz.allow(services=("operator", "gateway"), roles=("operator",))
}
"""Who may call what; telemetry's own table takes these rows in."""

_MINUTE_NS = 60 * 10**9
_MINUTES_MAX = (1 << 32) // 60 - 1


def serve_map(server: GrpcServer, keeper: Keeper) -> None:
    """Make *server* answer about the map."""
    server.add(pb_grpc.add_MapServiceServicer_to_server, MapService(keeper), SERVICE)


class MapService(pb_grpc.MapServiceServicer):
    """Answers from the store."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def GetServiceMap(  # noqa: N802 - the contract's name
        self, request: pb.GetServiceMapRequest, _context: Context
    ) -> pb.GetServiceMapResponse:
        start_ns, end_ns = asked_times(request, time.time_ns())
        edges = await self._keeper.read(
            min(start_ns // _MINUTE_NS, _MINUTES_MAX),
            min(-(-end_ns // _MINUTE_NS), _MINUTES_MAX),
            service=request.service,
            tenant=tenant_of(request.tenant),
        )
        seconds = max((end_ns - start_ns) / 1e9, 1.0)
        return fitting(pb.GetServiceMapResponse(edges=[_edge(one, seconds) for one in edges]))


def _edge(one: Edge, seconds: float) -> pb.ServiceEdge:
    return pb.ServiceEdge(
        client=one.client,
        server=one.server,
        kind=pb.EdgeKind.ValueType(one.kind),
        virtual=one.virtual,
        calls=one.calls,
        errors=one.errors,
        rate=one.calls / seconds,
        mean_duration=duration(one.duration_ns // max(one.calls, 1)),
        p50_duration=duration(quantile(one.latency, 0.5)),
        p95_duration=duration(quantile(one.latency, 0.95)),
        p99_duration=duration(quantile(one.latency, 0.99)),
        latency=[
            pb.LatencyBucket(upper_bound=duration(upper_bound(bucket)), calls=calls)
            for bucket, calls in one.latency
        ],
    )
