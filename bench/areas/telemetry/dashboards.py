"""
A dashboard of 30 panels: how long it takes to open, and how late a new sample is on it.

1,000 series (500 counters, 500 gauges) with an hour of samples, 15 s apart. Opening is the time
from the call to the last panel's whole range, at 15 s. An update is the time from the
acknowledgement of a sample, of which one series is drawn, to its arrival on the stream: with all
30 panels watched, and with one. `..._touching_all` is the same with a sample of all 1,000 series
beside it in the request, so that every panel is concerned.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from aerofusion.telemetry.v1 import dashboard_service_pb2 as rpc
from aerofusion.telemetry.v1.dashboard_service_pb2_grpc import DashboardServiceStub
from bench.areas.telemetry.server import running
from bench.report import percentile


if TYPE_CHECKING:
    from pathlib import Path

    from bench.report import Report

HOSTS, ROUTES = 50, 10
STEP_S, HOUR_S = 15, 3600
OPENINGS, UPDATES = 10, 60
EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
QUERIES = (
    *(f'sum by (host) (rate(calls_total{{route="r{n}"}}[5m]))' for n in range(ROUTES)),
    *(f'avg by (host) (load{{route="r{n}"}})' for n in range(ROUTES)),
    "sum(rate(calls_total[5m]))",
    "topk(5, sum by (host) (rate(calls_total[5m])))",
    "max(load) - min(load)",
    "quantile(0.99, load)",
    "avg_over_time(sum(load)[10m:30s])",
    "sum by (route) (increase(calls_total[10m]))",
    "count(load > 50) or vector(0)",
    'sum(load) / on() count(load{route="r1"})',
    "deriv(sum(load)[10m:30s])",
    "max(probe)",
)


def measure(report: Report) -> None:
    """Open and watch; about a minute."""
    with running() as server:
        asyncio.run(_measure(report, server.grpc_socket))


async def _measure(report: Report, socket: Path) -> None:
    options = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        export = channel.unary_unary(EXPORT)
        await _fill(export)
        stub = DashboardServiceStub(channel)
        opened = [await _open(stub) for _ in range(OPENINGS)]
        report.add(
            "dashboard_30_panels_ms", percentile(opened, 0.5), bound="<= 1000", samples=opened
        )
        report.add("dashboard_30_panels_first_ms", opened[0])
        late = await _updates(stub, export, QUERIES)
        report.add("panel_update_after_ack_ms", percentile(late, 0.5), bound="<= 150", samples=late)
        report.add("panel_update_after_ack_p99_ms", percentile(late, 0.99))
        all_touched = await _updates(stub, export, QUERIES, touching_all=True)
        report.add(
            "panel_update_touching_all_ms", percentile(all_touched, 0.5), samples=all_touched
        )
        alone = await _updates(stub, export, QUERIES[-1:])
        report.add("panel_update_alone_ms", percentile(alone, 0.5), samples=alone)


async def _fill(export: Any) -> None:
    now = time.time_ns()
    for back in range(HOUR_S, -1, -STEP_S):
        request = _samples(now - back * 10**9, HOUR_S - back)
        await export(request.SerializeToString())


def _samples(at_ns: int, elapsed_s: float) -> ExportMetricsServiceRequest:
    """Return a sample of each series, *elapsed_s* after the first."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    calls, load = metrics.add(name="calls"), metrics.add(name="load")
    calls.sum.aggregation_temporality, calls.sum.is_monotonic = 2, True
    for host in range(HOSTS):
        for route in range(ROUTES):
            seed = host * 7 + route
            value = float(elapsed_s * (1 + seed % 9))
            for points, number in (
                (calls.sum.data_points, value),
                (load.gauge.data_points, (value * 13 + seed) % 100),
            ):
                point = points.add(time_unix_nano=at_ns, as_double=number)
                point.attributes.add(key="host").value.string_value = f"h{host}"
                point.attributes.add(key="route").value.string_value = f"r{route}"
    return request


def _request(queries: tuple[str, ...]) -> rpc.WatchRangeRequest:
    return rpc.WatchRangeRequest(
        queries=queries, range=Duration(seconds=HOUR_S), step=Duration(seconds=STEP_S)
    )


async def _open(stub: DashboardServiceStub) -> float:
    began = time.perf_counter()
    call = stub.WatchRange(_request(QUERIES))
    await _whole(call, len(QUERIES))
    took = (time.perf_counter() - began) * 1e3
    call.cancel()
    return took


async def _whole(call: Any, queries: int) -> None:
    seen: set[int] = set()
    while len(seen) < queries:
        message = await call.read()
        problems = [update.problem for update in message.updates if update.problem]
        if problems:
            raise RuntimeError(problems[0])
        seen |= {update.query for update in message.updates}


async def _updates(
    stub: DashboardServiceStub, export: Any, queries: tuple[str, ...], *, touching_all: bool = False
) -> list[float]:
    call = stub.WatchRange(_request(queries))
    await _whole(call, len(queries))
    late = []
    began = time.time()
    probe = float(time.time_ns() // 1_000_000)
    for _ in range(UPDATES):
        probe += 1
        request = ExportMetricsServiceRequest()
        if touching_all:
            request = _samples(time.time_ns(), HOUR_S + time.time() - began)
        metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="probe")
        metric.gauge.data_points.add(time_unix_nano=time.time_ns(), as_double=probe)
        await export(request.SerializeToString())
        acknowledged = time.perf_counter()
        while not _holds(await call.read(), probe):
            pass
        late.append((time.perf_counter() - acknowledged) * 1e3)
    call.cancel()
    return late


def _holds(message: rpc.WatchRangeResponse, value: float) -> bool:
    return any(
        value in one.values
        for update in message.updates
        for one in (*update.series, *update.newest)
    )
