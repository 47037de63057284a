"""gRPC in, trends out: `aerofusion.telemetry.v1.ForecastService`."""

# ruff: noqa: N802 - methods have the names of the contract

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from aerofusion.telemetry.v1 import forecast_service_pb2 as pb
from aerofusion.telemetry.v1 import forecast_service_pb2_grpc as pb_grpc
from meshkit import authz, deadline
from meshkit.errors import InvalidInput
from telemetry.promql import labels as lb
from telemetry.query import messages as query_messages
from telemetry.trends import messages
from telemetry.trends.asking import Span, together
from telemetry.trends.grid import step_for
from telemetry.trends.sizing import size


if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc
    from google.protobuf.duration_pb2 import Duration

    from meshkit.serving import GrpcServer
    from telemetry.trends.asking import Past, Trends

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "aerofusion.telemetry.v1.ForecastService"
POLICY: authz.Policy = {
    f"/{SERVICE}/{method}": authz.allow(services=("operator",), roles=("operator",))
    for method in ("Forecast", "ComputeAnomalyBands", "AdviseSizes")
}
"""Who may call what; telemetry's own table takes these rows in."""

CPU = "max by (job, instance) (rate(process_cpu_time_seconds_total[{step}]))"
MEMORY = "max by (job, instance) (max_over_time(process_memory_usage_bytes[{step}]))"

_DAY_MS = 86_400_000
_HISTORY_MS, _HISTORY_MS_MAX = 28 * _DAY_MS, 400 * _DAY_MS
_SIZE_HISTORY_MS = _SIZE_HORIZON_MS = 7 * _DAY_MS
_POINTS, _POINTS_MAX = 672, 11_000
_AHEAD_MAX = 4
_SEASONS_MAX = 3
_SERVICES_MAX = 100
_DEVIATIONS = 4.0
_TIMEOUT = timedelta(seconds=30)
_POINT_BYTES_MIN = 40
_ANSWER_BYTES_MAX = 4_000_000


def serve_trends(server: GrpcServer, trends: Trends) -> None:
    """Make *server* answer about trends."""
    server.add(pb_grpc.add_ForecastServiceServicer_to_server, ForecastService(trends), SERVICE)


class ForecastService(pb_grpc.ForecastServiceServicer):
    """Answers by what `Trends` computes."""

    def __init__(self, trends: Trends) -> None:
        self._trends = trends

    async def Forecast(self, request: pb.ForecastRequest, context: Context) -> pb.ForecastResponse:
        history_ms = _length(request, "history", _HISTORY_MS, _HISTORY_MS_MAX)
        step_ms = _length(request, "step", step_for(history_ms, _POINTS), history_ms, 1000)
        span = _span(request, history_ms, step_ms)
        horizon = _horizon(request, history_ms, step_ms)
        past, answer = await self._past(request.query, span, request.tenant, context)
        _few_enough(len(past) * horizon * 5)
        made = await self._trends.forecasts(past, horizon, _seasons(request.seasons, step_ms))
        asked = messages.Asked(
            span=span,
            threshold=request.threshold if request.HasField("threshold") else None,
            rising=not request.falling,
            with_history=request.with_history,
        )
        return pb.ForecastResponse(
            forecasts=[
                messages.series_forecast(one, found, asked)
                for one, found in zip(past, made, strict=True)
            ],
            notes=query_messages.notes(answer),
        )

    async def ComputeAnomalyBands(
        self, request: pb.ComputeAnomalyBandsRequest, context: Context
    ) -> pb.ComputeAnomalyBandsResponse:
        for name in ("start_time", "end_time", "step"):
            if not request.HasField(name):
                raise _bad(name, "required")
        step_ms = _length(request, "step", 0, _HISTORY_MS_MAX, 1000)
        start_ms, end_ms = request.start_time.ToMilliseconds(), request.end_time.ToMilliseconds()
        if start_ms > end_ms:
            raise _bad("start_time", "must not be after end_time")
        points = (end_ms - start_ms) // step_ms + 1
        if points > _POINTS_MAX:
            raise _bad("step", f"makes more than {_POINTS_MAX} points")
        if not 0 <= request.deviations < float("inf"):
            raise _bad("deviations", "must not be negative")
        span = Span(end_ms=start_ms + (points - 1) * step_ms, step_ms=step_ms, points=points)
        past, answer = await self._past(request.query, span, request.tenant, context)
        _few_enough(len(past) * points)
        found = await self._trends.bands(
            past, _seasons(request.seasons, step_ms), request.deviations or _DEVIATIONS
        )
        return pb.ComputeAnomalyBandsResponse(
            bands=[
                messages.anomaly_bands(one, seasons, bands, span)
                for one, (seasons, bands) in zip(past, found, strict=True)
            ],
            notes=query_messages.notes(answer),
        )

    async def AdviseSizes(
        self, request: pb.AdviseSizesRequest, context: Context
    ) -> pb.AdviseSizesResponse:
        if len(request.services) > _SERVICES_MAX:
            raise _bad("services", f"at most {_SERVICES_MAX}")
        history_ms = _length(request, "history", _SIZE_HISTORY_MS, _HISTORY_MS_MAX)
        step_ms = max(300_000, step_for(history_ms, _POINTS))
        span = Span(
            end_ms=time.time_ns() // 1_000_000 // step_ms * step_ms,
            step_ms=step_ms,
            points=max(2, history_ms // step_ms),
        )
        ahead_ms = _length(request, "horizon", _SIZE_HORIZON_MS, _AHEAD_MAX * history_ms)
        horizon = max(1, ahead_ms // step_ms)
        window = f"{step_ms}ms"
        cpu, _ = await self._past(CPU.format(step=window), span, request.tenant, context)
        memory, _ = await self._past(MEMORY.format(step=window), span, request.tenant, context)
        names = sorted({lb.get(one.labels, "job") for one in (*cpu, *memory)})
        asked = set(request.services)
        wanted = [name for name in names if not asked or {name, name.rpartition("/")[2]} & asked]

        def compute() -> list[pb.SizeAdvice]:
            return [
                messages.size_advice(
                    name,
                    replicas=_replicas(memory, name, span) or _replicas(cpu, name, span),
                    cpu=size(_of(cpu, name, span), horizon, kills=False),
                    memory=size(_of(memory, name, span), horizon, kills=True),
                )
                for name in wanted
            ]

        return pb.AdviseSizesResponse(advice=await self._trends.run(compute))

    async def _past(
        self, query: str, span: Span, tenant: str, context: Context
    ) -> tuple[list[Past], Any]:
        if not query:
            raise _bad("query", "required")
        caller = authz.current_caller()
        tenant = tenant or caller.tenant
        caller.check_tenant(tenant)
        timeout = timedelta(seconds=deadline.remaining(context, _TIMEOUT))
        return await self._trends.past(query, span, tenant=tenant, timeout=timeout)


def _of(past: Sequence[Past], service: str, span: Span) -> np.ndarray[Any, np.dtype[np.float64]]:
    return together([p for p in past if lb.get(p.labels, "job") == service], span.points)


def _replicas(past: Sequence[Past], service: str, span: Span) -> int:
    there = ~np.isnan(_of(past, service, span))
    return int(there.sum(axis=0).max(initial=0))


def _span(request: pb.ForecastRequest, history_ms: int, step_ms: int) -> Span:
    points = history_ms // step_ms
    if not 1 <= points <= _POINTS_MAX:
        raise _bad("step", f"makes more than {_POINTS_MAX} points of history")
    now = request.time.ToMilliseconds() if request.HasField("time") else time.time_ns() // 1_000_000
    return Span(end_ms=now // step_ms * step_ms, step_ms=step_ms, points=points)


def _horizon(request: pb.ForecastRequest, history_ms: int, step_ms: int) -> int:
    if not request.HasField("horizon"):
        raise _bad("horizon", "required")
    length = _length(request, "horizon", 0, _AHEAD_MAX * history_ms)
    return max(1, -(-length // step_ms))


def _length(request: Any, name: str, default_ms: int, most_ms: int, least_ms: int = 1) -> int:
    if not request.HasField(name):
        return default_ms
    length = int(getattr(request, name).ToMilliseconds())
    if not least_ms <= length <= most_ms:
        raise _bad(name, f"must be {least_ms / 1000:g} s to {most_ms / 1000:g} s")
    return length


def _seasons(given: Sequence[Duration], step_ms: int) -> tuple[int, ...] | None:
    if len(given) > _SEASONS_MAX:
        raise _bad("seasons", f"at most {_SEASONS_MAX}")
    seasons = []
    for number, season in enumerate(given):
        points, rest = divmod(season.ToMilliseconds(), step_ms)
        if points < 2 or rest:
            raise _bad(f"seasons[{number}]", "must be two or more whole steps")
        seasons.append(points)
    return tuple(sorted(set(seasons))) if seasons else None


def _few_enough(points: int) -> None:
    if points * _POINT_BYTES_MIN > _ANSWER_BYTES_MAX:
        raise InvalidInput(
            "ANSWER_TOO_LARGE",
            "The answer is larger than a message may be; ask for less.",
            answer_bytes_max=str(_ANSWER_BYTES_MAX),
        )


def _bad(name: str, why: str) -> InvalidInput:
    return InvalidInput(
        "INVALID_FIELD", f"{name}: {why}.", field_violations={name: why}, field=name
    )
