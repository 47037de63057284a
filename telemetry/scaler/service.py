"""gRPC in, numbers out: KEDA's `externalscaler.ExternalScaler`."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from externalscaler import externalscaler_pb2 as pb
from externalscaler import externalscaler_pb2_grpc as pb_grpc
from meshkit import authz
from meshkit.errors import NotFound, Overloaded
from telemetry.scaler.demand import Demand
from telemetry.scaler.trigger import Trigger, read_trigger


if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from meshkit.serving import GrpcServer
    from telemetry.query.queries import Queries
    from telemetry.trends.asking import Trends

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "externalscaler.ExternalScaler"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("keda", "operator"))
    for method in ("IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics")
}
"""KEDA has a certificate as any workload has, for the service `keda`."""

METRIC = "forecast"
"""Name of the one metric that a trigger has."""

LOOK_EVERY_S = 5.0
"""How often a stream looks whether any replica is needed."""

STREAMS_MAX = 256

_WHOLE_MAX = (1 << 63) - 1


def serve_scaler(server: GrpcServer, queries: Queries, trends: Trends) -> None:
    """Make *server* an external scaler."""
    scaler = ExternalScaler(Demand(queries, trends))
    server.add(pb_grpc.add_ExternalScalerServicer_to_server, scaler, SERVICE)


class ExternalScaler(pb_grpc.ExternalScalerServicer):
    """Scales on what is coming."""

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._streams = 0

    async def IsActive(self, request: pb.ScaledObjectRef, context: Context) -> pb.IsActiveResponse:
        return pb.IsActiveResponse(result=await self._active(_trigger(request)))

    async def StreamIsActive(
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.IsActiveResponse]:
        trigger = _trigger(request)
        if self._streams >= STREAMS_MAX:
            raise Overloaded(
                "TOO_MANY_SCALERS",
                "As many streams of scalers are open as this process takes.",
                streams_max=str(STREAMS_MAX),
            )
        self._streams += 1
        try:
            told = None
            while True:
                active = await self._active(trigger)
                if active is not told:
                    yield pb.IsActiveResponse(result=active)
                told = active
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._streams -= 1

    async def GetMetricSpec(
        self, request: pb.ScaledObjectRef, context: Context
    ) -> pb.GetMetricSpecResponse:
        target = _trigger(request).target
        spec = pb.MetricSpec(
            metricName=METRIC, targetSize=max(1, _whole(target)), targetSizeFloat=target
        )
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(
        self, request: pb.GetMetricsRequest, context: Context
    ) -> pb.GetMetricsResponse:
        if request.metricName != METRIC:
            raise NotFound(
                "METRIC_NOT_FOUND",
                f"The only metric is {METRIC!r}.",
                metric=request.metricName,
            )
        found = await self._demand.of(_trigger(request.scaledObjectRef))
        value = pb.MetricValue(metricName=METRIC, metricValue=_whole(found), metricValueFloat=found)
        return pb.GetMetricsResponse(metricValues=[value])

    async def _active(self, trigger: Trigger) -> bool:
        return await self._demand.of(trigger) > trigger.activation


def _trigger(request: pb.ScaledObjectRef) -> Trigger:
    trigger = read_trigger(request.scalerMetadata)
    authz.current_caller().check_tenant(trigger.tenant)
    return trigger


def _whole(value: float) -> int:
    """Return *value* rounded up, as far as an int64 goes."""
    return max(-_WHOLE_MAX, min(math.ceil(value), _WHOLE_MAX)) if math.isfinite(value) else 0
